"""How time and memory of forward model and stereochemistry grow from 1,000 to 100,000 atoms.

Each size is a process of its own: one density (electron form, gradients in positions, B-factors and occupancies) and
all stereochemical terms with their gradient. Memory is the peak above what the process held with everything imported
and compiled. Run as a program it measures one size: `python -m benchmarks.growth DATA ATOMS`.
"""

import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1_000, 5_000, 20_000, 100_000)
REPEATS = 5
MEASURES = ("density_seconds", "stereochemistry_seconds", "density_gib", "stereochemistry_gib")


def growth(data: Path, scratch: Path) -> dict[str, float]:
    """Slopes of the log-log lines through all sizes, the steepest of its kind, and every measurement.

    Draws scratch/growth.png. Slope 1 is proportional growth; below it fixed costs show.
    """
    found = {size: _measured(data, size) for size in SIZES}
    atoms = [found[size]["atoms"] for size in SIZES]
    slopes = {name: _slope(atoms, [found[size][name] for size in SIZES]) for name in MEASURES}
    draw(found, slopes, scratch / "growth.png")
    return {
        "time_slope": max(slopes["density_seconds"], slopes["stereochemistry_seconds"]),
        "memory_slope": max(slopes["density_gib"], slopes["stereochemistry_gib"]),
        **{f"slope_{name}": slope for name, slope in slopes.items()},
        **{f"{name}_{size}": found[size][name] for size in SIZES for name in MEASURES},
    }


def _slope(atoms: list[float], values: list[float]) -> float:
    return float(np.polyfit(np.log(atoms), np.log(np.maximum(values, 1e-6)), 1)[0])


def _measured(data: Path, atoms: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.growth", str(data), str(atoms)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def draw(found: dict[int, dict[str, float]], slopes: dict[str, float], path: Path) -> None:
    """One picture: times on the left, memory on the right, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    labels = {"seconds": "seconds, forward and backward", "gib": "GiB at peak"}
    atoms = [each["atoms"] for each in found.values()]
    for panel, (unit, label) in zip(panels, labels.items(), strict=True):
        for name in MEASURES:
            part, _, measured = name.rpartition("_")
            if measured == unit:
                values = [each[name] for each in found.values()]
                panel.loglog(atoms, values, "o-", label=f"{part}, slope {slopes[name]:.2f}")
        panel.set(xlabel="atoms", ylabel=label)
        panel.grid(True, which="both", alpha=0.3)
        panel.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def measure(data: Path, atoms: int) -> dict[str, float]:
    """Median seconds and peak GiB of one size, in this process."""
    import torch

    from benchmarks.density_cost import Atoms, tensors
    from benchmarks.stage1_cost import channel_model
    from cryofound.config import StereochemistryConfig
    from cryofound.maps.density_map import Grid
    from cryofound.physics.density import render_electron
    from cryofound.physics.stereochemistry import stereochemistry, stereochemistry_loss
    from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel

    torch.set_num_threads(1)

    def boxed(model: AtomicModel) -> Atoms:
        numbers = np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS])[model.element]
        low, high = model.positions_xyz.min(0) - 8, model.positions_xyz.max(0) + 8
        x, y, z = (int(size) for size in np.ceil((high - low) / 1.1))
        grid = Grid((z, y, x), 1.1, (float(low[0]), float(low[1]), float(low[2])))
        return Atoms(model.positions_xyz, numbers, np.full(model.n_atoms, 60.0), grid)

    def density(atoms: Atoms) -> None:
        positions, number, b_factor, occupancy = tensors(atoms)
        leaves = (positions.requires_grad_(), b_factor.requires_grad_(), occupancy.requires_grad_())
        rendered = render_electron(positions, number, b_factor, occupancy, atoms.grid)
        torch.autograd.grad(rendered, leaves, torch.ones_like(rendered))

    def geometry(model: AtomicModel) -> None:
        positions = torch.from_numpy(model.positions_xyz)[None].requires_grad_()
        torch.autograd.grad(stereochemistry_loss(positions, tables[model.n_atoms], config).sum(), positions)

    config = StereochemistryConfig()
    small, model = channel_model(data, 200), channel_model(data, atoms)
    tables = {each.n_atoms: stereochemistry(each) for each in (small, model)}
    found = {"atoms": float(model.n_atoms)}
    box = boxed(model)
    density(boxed(small))  # compiles
    geometry(small)
    for name, work in {"density": lambda: density(box), "stereochemistry": lambda: geometry(model)}.items():
        # what the allocator keeps of earlier work would hide what this work needs
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        held = _resident()
        _forget_peak()
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        found[f"{name}_seconds"] = statistics.median(seconds)
        found[f"{name}_gib"] = (_peak() - held) / 2**30
    return found


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _forget_peak() -> None:
    """Start the kernel's record of this process's peak afresh (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))))
