"""The forward model beside gemmi's `DensityCalculatorE` and cryojax: time on one thread, and agreement.

Both sides run in turn within one process (cryojax in its own environment), on one core. Two models: haemoglobin 5NI1
with its four chains, and a channel of 20,000 atoms.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import torch

from benchmarks.stage1_cost import channel_model
from cryofound.errors import SourceError
from cryofound.maps.density_map import Grid
from cryofound.physics.density import ELECTRON_CUTOFF, render_electron
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS

HAEMOGLOBIN = Path("maps/emd3488_5ni1/5ni1_updated.cif.gz")
MARGIN = 10.0  # angstrom between the outermost atoms and the edge of the box
REPEATS = 15
CRYOJAX = ("cryojax==0.6.0", "jax==0.10.2", "jaxlib==0.10.2")
WIDTHS = (5, 7, 9, 11, 15)  # voxels per axis over which cryojax is asked to spread a Gaussian


@dataclass(frozen=True)
class Atoms:
    """positions_xyz (atom, 3) angstrom within a cubic box from 0; atomic_number, b_factor (atom,); its grid."""

    positions_xyz: np.ndarray
    atomic_number: np.ndarray
    b_factor: np.ndarray
    grid: Grid


def density_cost(data: Path, scratch: Path) -> dict[str, float]:
    """Figures of both models; `forward_speed_*` and `backward_over_forward` are those of the worse of the two.

    Speeds are times of the other program over ours, so that more is better; backward_over_forward is the time of
    forward and backward, with gradients in positions, B-factors and occupancies, over that of forward.
    """
    models = {"5ni1": haemoglobin(data), "channel": channel(data, 20_000)}
    python = cryojax_environment(scratch)
    found: dict[str, float] = {}
    with one_core():
        for name, atoms in models.items():
            found |= {f"{metric}_{name}": value for metric, value in beside_gemmi(atoms).items()}
            found |= {f"{metric}_{name}": value for metric, value in beside_cryojax(atoms, python).items()}
    worst: dict[str, Callable[..., float]] = {
        "gemmi_relative_l2": max,
        "forward_speed_vs_gemmi": min,
        "forward_speed_vs_cryojax": min,
        "backward_over_forward": max,
    }
    return {metric: pick(found[f"{metric}_{name}"] for name in models) for metric, pick in worst.items()} | found


def haemoglobin(data: Path) -> Atoms:
    """All heavy atoms of 5NI1 with their B-factors, voxels of 1.05 A as in its map."""
    structure = gemmi.read_structure(str(data / HAEMOGLOBIN))
    structure.remove_hydrogens()
    atoms = [site.atom for site in structure[0].all()]
    return _boxed(
        np.array([atom.pos.tolist() for atom in atoms]),
        np.array([atom.element.atomic_number for atom in atoms]),
        np.array([atom.b_iso for atom in atoms]),
        1.05,
    )


def channel(data: Path, count: int) -> Atoms:
    """A model of about `count` atoms with B-factors between 30 and 120 A^2, voxels of 1.1 A."""
    model = channel_model(data, count)
    numbers = np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS])[model.element]
    b_factor = np.random.default_rng(0).uniform(30, 120, model.n_atoms)
    return _boxed(model.positions_xyz.astype(np.float64), numbers, b_factor, 1.1)


def _boxed(positions: np.ndarray, numbers: np.ndarray, b_factor: np.ndarray, voxel_size: float) -> Atoms:
    positions = positions - positions.min(0) + MARGIN
    edge = int(np.ceil((positions.max() + MARGIN) / voxel_size / 2)) * 2
    return Atoms(positions, numbers, b_factor, Grid((edge, edge, edge), voxel_size, (0.0, 0.0, 0.0)))


def beside_gemmi(atoms: Atoms) -> dict[str, float]:
    """Medians in seconds, ratios and the relative L2 difference, both with the same cut-off, one thread each."""
    model, calculator, grid = _gemmi_model(atoms)
    positions, number, b_factor, occupancy = tensors(atoms)
    leaves = [positions.requires_grad_(), b_factor.requires_grad_(), occupancy.requires_grad_()]
    cotangent = torch.randn(1, *grid.shape_zyx, generator=torch.Generator().manual_seed(0))

    def theirs() -> None:
        calculator.grid.fill(0)
        calculator.add_model_density_to_grid(model)

    def forward() -> None:
        with torch.no_grad():
            render_electron(positions, number, b_factor, occupancy, grid)

    def both(*wanted: torch.Tensor) -> None:
        mine = [each if any(each is one for one in wanted) else each.detach() for each in leaves]
        density = render_electron(mine[0], number, mine[1], mine[2], grid)
        torch.autograd.grad(density, wanted, cotangent)

    times = medians(theirs, forward, lambda: both(*leaves), lambda: both(leaves[0]))
    with torch.no_grad():
        ours = render_electron(positions, number, b_factor, occupancy, grid)[0].numpy()
    reference = np.array(calculator.grid.array).transpose(2, 1, 0)
    return {
        "atoms": float(len(atoms.b_factor)),
        "gemmi_relative_l2": float(np.linalg.norm(ours - reference) / np.linalg.norm(reference)),
        "gemmi_seconds": times[0],
        "forward_seconds": times[1],
        "forward_speed_vs_gemmi": times[0] / times[1],
        "backward_over_forward": times[2] / times[1],
        "backward_over_forward_positions_only": times[3] / times[1],
    }


def _gemmi_model(atoms: Atoms) -> tuple[gemmi.Model, gemmi.DensityCalculatorE, Grid]:
    residue = gemmi.Residue()
    for position, number, b_factor in zip(atoms.positions_xyz, atoms.atomic_number, atoms.b_factor, strict=True):
        atom = gemmi.Atom()
        atom.pos, atom.element, atom.b_iso = gemmi.Position(*position), gemmi.Element(int(number)), float(b_factor)
        residue.add_atom(atom)
    chain, model = gemmi.Chain("A"), gemmi.Model("1")
    chain.add_residue(residue)
    model.add_chain(chain)
    calculator, edge = gemmi.DensityCalculatorE(), atoms.grid.shape_zyx[0]
    length = edge * atoms.grid.voxel_size
    calculator.grid.spacegroup = gemmi.SpaceGroup("P1")
    calculator.grid.set_unit_cell(gemmi.UnitCell(length, length, length, 90, 90, 90))
    calculator.grid.set_size(edge, edge, edge)
    calculator.cutoff = ELECTRON_CUTOFF
    return model, calculator, atoms.grid


def beside_cryojax(atoms: Atoms, python: Path) -> dict[str, float]:
    """Time of cryojax's narrowest adequate spreading over ours, and of ours for the same density.

    cryojax averages over a voxel where we take its centre: our density is blurred by the variance of a voxel, voxel^2 /
    12 per axis. A window is adequate if its error is within a twentieth of the widest one's.
    """
    positions, number, b_factor, occupancy = tensors(atoms)
    blur = 8 * np.pi**2 * atoms.grid.voxel_size**2 / 12

    def ours() -> torch.Tensor:
        with torch.no_grad():
            return render_electron(positions, number, b_factor, occupancy, atoms.grid, blur)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "atoms.npz"
        np.savez(
            path,
            positions_xyz=atoms.positions_xyz.astype(np.float32),
            atomic_number=atoms.atomic_number,
            b_factor=atoms.b_factor.astype(np.float32),
            edge=atoms.grid.shape_zyx[0],
            voxel_size=atoms.grid.voxel_size,
            reference=ours()[0].numpy(),
            widths=WIDTHS,
        )
        script = Path(__file__).with_name("cryojax_side.py")
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run([python, script, path], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1]
        raise SourceError(f"cryojax failed: {why}; delete {python.parents[1]} and run again")
    found = json.loads(done.stdout.splitlines()[-1])
    least = found[f"spread_{WIDTHS[-1]}"]["relative_l2"]
    adequate = next(each for each in found.values() if each["relative_l2"] <= 1.05 * least)
    seconds = medians(ours)[0]
    return {
        "cryojax_seconds": adequate["seconds"],
        "cryojax_relative_l2": adequate["relative_l2"],
        "forward_speed_vs_cryojax": adequate["seconds"] / seconds,
    }


def tensors(atoms: Atoms) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions, atomic numbers, B-factors and occupancies of 1, each with a batch of one."""
    b_factor = torch.from_numpy(atoms.b_factor.astype(np.float32))[None]
    positions = torch.from_numpy(atoms.positions_xyz.astype(np.float32))[None]
    return positions, torch.from_numpy(atoms.atomic_number.astype(np.int64))[None], b_factor, torch.ones_like(b_factor)


def medians(*functions: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Median wall time in seconds of each function, called in turn so that a busy moment strikes all alike."""
    seconds: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(repeats):
        for taken, function in zip(seconds, functions, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


class one_core:
    """Within it this process and its children run on one core, and torch on one thread."""

    def __enter__(self) -> None:
        self.cores, self.threads = os.sched_getaffinity(0), torch.get_num_threads()
        os.sched_setaffinity(0, {max(self.cores)})
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self.cores)
        torch.set_num_threads(self.threads)


def cryojax_environment(scratch: Path) -> Path:
    """The Python of an environment that holds cryojax, made once below `scratch`."""
    folder = scratch / "cryojax-environment"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.is_file():
        print(f"installing {', '.join(CRYOJAX)} into {folder} (once)", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "-q", *CRYOJAX]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = done.stderr.strip().splitlines()[-1]
            raise SourceError(f"pip cannot install cryojax: {why}; is a package index there?")
        ready.touch()
    return python
