"""Samples of trained models: how fast, how sound by the official scores, and how symmetric, beside their references.

It takes two homes that lie beside its own folder: `families/fold-0/seed-0`, left by `python -m benchmarks families`
(calmodulin 5A2H and the receptor b2AR were held out of that fold), and `trp`, the home of a run of jobs/local.py with
configs/benchmark/trp.yaml. Chunks are drawn side by side, as many as torch has threads (OMP_NUM_THREADS).
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.physics import shared_data
from cryofound.commands.sample_reference import read_sampled_reference
from cryofound.config import Recipe, SamplingConfig, validated
from cryofound.ensemble.store import read_system, system_folder
from cryofound.ensemble.system import System
from cryofound.errors import StoreError
from cryofound.evaluation.monomer_library import validation_library
from cryofound.evaluation.scored_model import read_scored_models
from cryofound.evaluation.stereochemistry import ramachandran
from cryofound.evaluation.validation import clash_score
from cryofound.sampling.flow_model import FlowModel, load_flow_model
from cryofound.sampling.model_folder import read_model
from cryofound.sampling.newcomer import find_family, newcomer
from cryofound.sampling.zero_shot import draw_valid
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.symmetry import find_symmetry
from cryofound.structure.writing import write_ensemble
from cryofound.training.checkpoints import load_export_config

FAMILIES, TRP = Path("families", "fold-0", "seed-0"), Path("trp")
HELD_OUT = {"calmodulin": "5A2H", "receptor": "b2ar"}
TRPV5 = Path("families", "trp_channel", "6o1p_trpv5.pdb.gz")
SAMPLES = {"calmodulin": 1000, "receptor": 16, "trpv5": 16}
LIMITS = {
    "calmodulin_seconds": 60.0,
    "trpv5_seconds": 60.0,
    "trpv5_symmetry": 0.1,
    **{f"{case}_rama_outliers": 0.5 for case in SAMPLES},
    **{f"{case}_clashscore_excess": 5.0 for case in SAMPLES},
}
FLOORS: dict[str, float] = {}


def measure(work: Path) -> dict[str, float]:
    """Figures of every case; clashscore2 takes minutes for a channel. Raises StoreError where a home is missing."""
    work.mkdir(parents=True, exist_ok=True)
    return {
        f"{case}_{name}": value
        for case in SAMPLES
        for name, value in sampling(*_case(case, work.parent), SAMPLES[case], work / f"{case}.cif").items()
    }


def sampling(model: FlowModel, system: System, samples: int, path: Path) -> dict[str, float]:
    """Draw and write so many samples with the settings of a new recipe, and score them beside their reference.

    seconds and per_second: of drawing and writing, without loading; rama_outliers: percent by ramalyze over at most 16
    samples; clashscore_excess: of the first sample over the reference's; symmetry: largest distance, angstrom, of an
    atom from where an operator brings its copy.
    """
    settings = SamplingConfig(samples=samples)
    begun, kept, moved = time.perf_counter(), [], []

    def positions():
        for chunk in draw_valid(model, system, settings, seed=0):
            moved.append(chunk.moved)
            dropped[0] = chunk.dropped
            if len(kept) < 16:
                kept.extend(chunk.positions_xyz[: 16 - len(kept)])
            yield from chunk.positions_xyz

    dropped = [0]
    write_ensemble(path, system.reference, positions(), name=system.system_id)
    seconds = time.perf_counter() - begun
    scored = np.stack([system.reference.positions_xyz, *kept])
    rama = ramachandran(system.reference, scored)
    if rama is None:
        raise StoreError("benchmark sampling: cctbx-base is not installed; pip install cctbx-base")
    before, after = (_clashscore(system.reference, each) for each in scored[:2])
    found = {
        "seconds": seconds,
        "per_second": samples / seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "dropped": float(dropped[0]),
        "moved": float(np.concatenate(moved).mean()),
        "rama_outliers": float(rama.percent[1:].mean()),
        "rama_outliers_reference": float(rama.percent[0]),
        "clashscore": after,
        "clashscore_excess": after - before,
    }
    return found if system.symmetry == "C1" else {**found, "symmetry": _off_symmetry(system, np.stack(kept))}


def _case(case: str, folder: Path) -> tuple[FlowModel, System]:
    home = folder / (TRP if case == "trpv5" else FAMILIES)
    if not home.is_dir():
        raise StoreError(f"{home}: no such folder; train there first, as benchmarks/sampling.py says")
    if case in HELD_OUT:
        store, stage1, stage2 = (next(home.glob(f"{name}-*[0-9a-f]")) for name in ("store", "stage1", "stage2"))
        config = load_export_config(stage2)
        recipe = validated(config["recipe"], Recipe, f"{stage2}: its recipe")
        model = load_flow_model(recipe, config["training_ids"], stage1, stage2)
        return model, read_system(system_folder(store, HELD_OUT[case]))
    model = read_model(home)
    reference = read_sampled_reference(shared_data() / TRPV5, case, None).atoms
    relation = find_family(reference, model.members)
    return model, newcomer(reference, model.members, relation, model.recipe, name=case)


def _clashscore(model: AtomicModel, positions_xyz: np.ndarray) -> float:
    with tempfile.TemporaryDirectory(prefix="cryofound-sampling-") as scratch:
        path = Path(scratch) / "model.cif"
        write_ensemble(path, model, positions_xyz[None])
        (scored,) = read_scored_models(path)
        return clash_score(scored, validation_library(), Path(scratch)).clashscore


def _off_symmetry(system: System, positions_xyz: np.ndarray) -> float:
    symmetry = find_symmetry(system.reference, system.symmetry)
    worst = 0.0
    for rotation, shift, atoms in zip(symmetry.rotation, symmetry.shift, symmetry.atoms, strict=True):
        there = atoms >= 0
        images = positions_xyz[:, atoms[there]] @ rotation.T + shift
        worst = max(worst, float(np.linalg.norm(images - positions_xyz[:, there], axis=-1).max()))
    return worst
