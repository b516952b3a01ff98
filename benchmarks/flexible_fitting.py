"""Our build beside a peer's: all-atom flexible fitting by molecular dynamics, in one run on one CPU thread each.

    python -m benchmarks flexible-fitting [--cases kinesin,adk] [--side peer|ours|both]

Both get the same references and maps (`real_maps`) and are scored by the same code with B-factors fitted alike. A
side's time is that of its own processes, from files to models, without scores and without our builds for the free
correlation. What is no protein the peer moves too, without charges. A state of a series it reaches from the reference
and by way of the nearest state at hand; the way that ends nearer to the truth is kept, and its time alone counts.
"""

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters, digits

import gemmi
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.physics import shared_data
from benchmarks.real_maps import CASES, WORST, Case, _rmsd
from cryofound.building.deposit import ReferenceFile, read_reference_file, write_models
from cryofound.building.fitting import misfit, subject
from cryofound.building.models import StateMap
from cryofound.building.series import NEARNESS, build_series
from cryofound.building.target import make_target
from cryofound.config import BuildConfig
from cryofound.errors import SourceError, TrainingError
from cryofound.evaluation.model_scores import score_models
from cryofound.evaluation.monomer_library import validation_library
from cryofound.evaluation.scored_model import read_scored_models
from cryofound.maps.mrc import read_map
from cryofound.structure.reading import read_complex

USUAL = ("kinesin", "adk")  # those that both programs' settings were chosen on
SIDES = ("peer", "ours")
CHOICES = (*SIDES, "both")
NEEDED = ("openmm", "pdbfixer")
PROGRAM = Path(__file__).with_name("flexible_fitting_process.py")
BROKEN = 2.5  # angstrom between C and N beyond which a chain is taken to have a gap
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENMM_CPU_THREADS")

FLOORS = {f"{case}_cc_mask_over_peer": 1.0 for case in USUAL}
LIMITS = {
    f"{case}_{what}_over_peer": 1.0 for case in USUAL for what in ("molprobity", "seconds", "cpu_seconds", "rmsd")
} | {"adk_ours_rmsd": 0.6}


@dataclass(frozen=True)
class Models:
    """What one side made of a case: a file for each state, and what that took of the clock and of a CPU (seconds)."""

    paths: tuple[Path, ...]
    seconds: float
    cpu_seconds: float


def measure(work: Path, cases: Sequence[str] = USUAL, side: str = "both") -> dict[str, float]:
    """Figures of one side of CHOICES or of both, and ours over the peer's; what was built lies in `work` afterwards.

    Raises SourceError for a case that there is not, and where the peer is not installed.
    """
    sides = SIDES if side == "both" else (side,)
    unknown = [name for name in cases if name not in CASES]
    if unknown:
        raise SourceError(f"no case {unknown[0]}; there are {', '.join(CASES)}")
    if "peer" in sides:
        require_peer()
    data, found = shared_data(), {}
    for name in cases:
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        case = CASES[name](data, folder)
        for each in sides:
            models = _peer(case, folder / "peer") if each == "peer" else _ours(case, folder / "ours")
            found |= {f"{name}_{each}_{what}": value for what, value in _figures(case, models).items()}
        if len(sides) == len(SIDES):
            found |= _ratios(found, name)
        Console(width=100).print(_table(found, name))
        (work / "so-far.json").write_text(json.dumps(found, indent=1))
    return found


def require_peer() -> None:
    """Raise SourceError unless the peer's packages are installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SourceError(
            f"flexible-fitting needs {' and '.join(missing)}, which the peer is made of; pip install -e '.[benchmarks]'"
        )


def _figures(case: Case, models: Models) -> dict[str, float]:
    pairs = [
        (read_scored_models(path)[0], read_map(state.path))
        for path, state in zip(models.paths, case.states, strict=True)
    ]
    scores = score_models(pairs, [state.resolution for state in case.states], validation_library(), processes=1)
    metrics = [score.metrics() for score in scores]
    found = {"seconds": models.seconds, "cpu_seconds": models.cpu_seconds}
    found |= {name: float(np.mean([each[name] for each in metrics])) for name in ("cc_mask", "q_score", "rama_favored")}
    found |= {name: max(each[name] for each in metrics) for name in WORST}
    if case.truths:
        rmsd = [_rmsd(read_complex(path), truth) for path, truth in zip(models.paths, case.truths, strict=True)]
        found |= {"rmsd": max(rmsd), "rmsd_mean": float(np.mean(rmsd))}
        found |= {f"rmsd_{state.state_id}": value for state, value in zip(case.states, rmsd, strict=True)}
    return found


def _ratios(found: dict[str, float], name: str) -> dict[str, float]:
    quantities = ("cc_mask", "q_score", "molprobity", "seconds", "cpu_seconds", "rmsd")
    pairs = {each: [found.get(f"{name}_{side}_{each}") for side in ("ours", "peer")] for each in quantities}
    return {
        f"{name}_{each}_over_peer": ours / peer
        for each, (ours, peer) in pairs.items()
        if ours is not None and peer is not None
    }


def _table(found: dict[str, float], name: str) -> Table:
    """One row per quantity: the peer's, ours, and ours over the peer's; a dash for what was not measured."""
    table = Table("", title=f"{name}: correlations are means over states, geometry and RMSD the worst state's")
    for column in ("peer", "ours", "ours / peer"):
        table.add_column(column, justify="right")
    quantities = [key.removeprefix(f"{name}_{side}_") for side in SIDES for key in found if f"{name}_{side}_" in key]
    for each in dict.fromkeys(quantities):
        keys = (f"{name}_peer_{each}", f"{name}_ours_{each}", f"{name}_{each}_over_peer")
        table.add_row(each, *(f"{found[key]:.4g}" if key in found else "-" for key in keys))
    return table


# ours


def _ours(case: Case, folder: Path) -> Models:
    """Our models, by a process of their own (see `build`)."""
    folder.mkdir()
    states = [(state.state_id, str(state.path), state.resolution) for state in case.states]
    (folder / "job.json").write_text(json.dumps({"reference": str(case.reference), "states": states}))
    seconds, cpu_seconds = _timed([sys.executable, "-m", "benchmarks.flexible_fitting", folder], "our build")
    return Models(tuple(folder / f"{state.state_id}.cif" for state in case.states), seconds, cpu_seconds)


def build(job: Path) -> None:
    """What `cryofound build` does up to its scores: JOB/job.json names reference and maps, models go beside it."""
    given = json.loads((job / "job.json").read_text())
    config, file = BuildConfig(free_share=0.0), read_reference_file(Path(given["reference"]))
    what = subject(file.model, config, None, file.passengers())
    targets = [make_target(read_map(Path(path)), resolution) for _, path, resolution in given["states"]]
    built = build_series(what, targets, config)
    for (name, *_), state in zip(given["states"], built, strict=True):
        pieces = what.passengers.with_model(file.model.positions_xyz, state.positions_xyz)
        write_models(job / f"{name}.cif", file, [file.placed(state.positions_xyz, pieces)], name)


# the peer


def _peer(case: Case, folder: Path) -> Models:
    """The peer's models: from the reference, and for a series by way of the nearest state too, whichever is better."""
    folder.mkdir()
    ways = [_direct(case, folder / "direct")]
    if len(case.states) > 1:
        ways.append(_by_neighbours(case, folder / "by-neighbours"))
    if not case.truths:
        return ways[0]
    rmsd = [
        np.mean([_rmsd(read_complex(path), truth) for path, truth in zip(way.paths, case.truths, strict=True)])
        for way in ways
    ]
    for way, value in zip(ways, rmsd, strict=True):
        print(f"{way.paths[0].parent.name}: mean RMSD {value:.3f} A, {way.seconds:.0f} s", flush=True)
    return ways[int(np.argmin(rmsd))]


def _direct(case: Case, folder: Path) -> Models:
    """Every state from the reference."""
    folder.mkdir()
    file = read_reference_file(case.reference)
    start = file.model.positions_xyz
    steps = [_fit(file, start, file.passengers().positions_xyz, state, folder)[2:] for state in case.states]
    return _together(case, folder, steps)


def _by_neighbours(case: Case, folder: Path) -> Models:
    """The state nearest to a model at hand from that model, as `build_series` goes; to find it costs no time."""
    folder.mkdir()
    file, config = read_reference_file(case.reference), BuildConfig()
    what = subject(file.model, config, None, file.passengers())
    near = [make_target(read_map(state.path), state.resolution).coarser(NEARNESS) for state in case.states]
    at_hand = [(file.model.positions_xyz, list(file.passengers().positions_xyz))]
    left, steps = list(range(len(near))), []
    while left:
        distance = {(row, k): misfit(xyz, what, near[row]) for row in left for k, (xyz, _) in enumerate(at_hand)}
        state, source = min(distance, key=lambda pair: distance[pair])
        positions, pieces, *step = _fit(file, *at_hand[source], case.states[state], folder)
        at_hand.append((positions, pieces))
        steps.append(step)
        left.remove(state)
    return _together(case, folder, steps)


def _together(case: Case, folder: Path, steps: Sequence[Sequence[float]]) -> Models:
    seconds, cpu_seconds = np.sum(steps, axis=0).tolist()
    return Models(tuple(folder / f"{state.state_id}.cif" for state in case.states), seconds, cpu_seconds)


def _fit(
    file: ReferenceFile, start_xyz: np.ndarray, pieces_xyz: Sequence[np.ndarray], state: StateMap, folder: Path
) -> tuple[np.ndarray, list[np.ndarray], float, float]:
    """One state by the peer: positions (atom, 3) and those of each piece, seconds and CPU seconds; writes a model."""
    job = folder / state.state_id
    job.mkdir()
    write_protein(job / "protein.pdb", file, file.placed(start_xyz, pieces_xyz))
    density, numbers = read_map(state.path), file.passengers().atomic_number
    sizes = [len(piece) for piece in numbers]
    np.savez(
        job / "job.npz",
        values_zyx=density.values_zyx,
        voxel_size=density.grid.voxel_size,
        origin_xyz=density.grid.origin_xyz,
        pieces_xyz=np.concatenate([*pieces_xyz, np.zeros((0, 3))]),
        pieces_number=np.concatenate([*numbers, np.zeros(0)]).astype(np.int64),
        pieces_piece=np.repeat(np.arange(len(sizes)), sizes),
    )
    seconds, cpu_seconds = _timed([sys.executable, "-P", PROGRAM, job], f"{state.state_id}: the peer")
    with np.load(job / "fitted.npz") as fitted:
        positions = np.empty_like(fitted["protein_xyz"])
        positions[np.argsort(file.rows)] = fitted["protein_xyz"]  # a file's order of atoms need not be a model's
        pieces = np.split(fitted["pieces_xyz"], np.cumsum(sizes)[:-1]) if sizes else []
    structure = file.structure.clone()
    del structure[0]
    structure.add_model(file.placed(positions, pieces))
    structure.make_mmcif_document().write_file(str(folder / f"{state.state_id}.cif"))
    return positions, pieces, seconds, cpu_seconds


def write_protein(path: Path, file: ReferenceFile, model: gemmi.Model) -> None:
    """Write the atoms of a model that are protein as PDB, each stretch without a gap as a chain of its own.

    Raises SourceError for more stretches than that format has names.
    """
    protein = set(file.rows.tolist())
    names = iter(ascii_letters + digits)
    stretches = model.clone()
    while len(stretches):
        del stretches[0]
    for chain in model:
        last = None
        for residue in chain:
            if residue[0].serial not in protein:
                continue
            if last is None or last["C"][0].pos.dist(residue["N"][0].pos) > BROKEN:
                name = next(names, None)
                if name is None:
                    raise SourceError(
                        f"{file.path}: more than {len(ascii_letters + digits)} stretches; name fewer chains"
                    )
                stretches.add_chain(gemmi.Chain(name))
            stretches[-1].add_residue(residue)
            last = residue
    structure = gemmi.Structure()
    structure.add_model(stretches)
    structure.setup_entities()
    structure.write_pdb(str(path))


def _timed(command: Sequence[object], task: str) -> tuple[float, float]:
    """Seconds and CPU seconds that a command takes; raises TrainingError with its last line if it fails."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = subprocess.run(
        list(map(str, command)),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, **dict.fromkeys(THREADS, "1")},
    )
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if finished.returncode:
        reason = finished.stderr.strip().splitlines() or ["no message"]
        raise TrainingError(f"{task} failed with exit code {finished.returncode}: {reason[-1]}")
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return seconds, used


if __name__ == "__main__":
    build(Path(sys.argv[1]))
