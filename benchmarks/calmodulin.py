"""The calmodulin benchmark: six structures, two end states each along the lowest normal mode, two proteins held out.

Three seeds of `jobs/pretrain.py`, each from an empty folder, so that `seconds` is what a user waits for. The reported
RMSD is the closest of 16 samples of the flow. Note that the true states lie on a normal mode by construction: a
baseline that drew from that one mode alone would be near perfect, which says nothing about real motions.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from cryofound.config import Recipe, digest, load_recipe
from cryofound.errors import TrainingError
from cryofound.evaluation.metrics import StateScore
from cryofound.evaluation.scores import EnsembleScore, read_scores
from cryofound.revision import git_revision

ROOT = Path(__file__).resolve().parents[1]
RECIPES = {
    "calmodulin": Path("configs/benchmark/calmodulin.yaml"),
    "calmodulin-without-twins": Path("configs/benchmark/calmodulin_without_twins.yaml"),
    "calmodulin-among-families": Path("configs/benchmark/calmodulin_among_families.yaml"),
}
SEEDS = (0, 1, 2)

# What issue 2 asks for; angstrom, seconds, percentage points.
_STEREOCHEMISTRY = {"ramachandran_excess": 1.0, "backbone_bond_rms": 0.05}
LIMITS = {
    "calmodulin": {
        "train_rmsd": 0.29,
        **{f"validation_rmsd_{state}": 0.60 for state in ("4cln_a", "4cln_b", "5a2h_a", "5a2h_b")},
        "seconds": 1200.0,
        **_STEREOCHEMISTRY,
    },
    "calmodulin-without-twins": {
        **{f"validation_rmsd_{state}": 0.60 for state in ("4cln_a", "4cln_b")},
        **{f"validation_rmsd_{state}": 0.90 for state in ("5a2h_a", "5a2h_b")},
        "seconds": 1200.0,
        **_STEREOCHEMISTRY,
    },
}
# What issue 5 asks for: at most 0.03 A over what the calmodulins alone gave, seven families being trained together.
ALONE = {"4cln_a": 0.374, "4cln_b": 0.374, "5a2h_a": 0.379, "5a2h_b": 0.392}
LIMITS["calmodulin-among-families"] = {f"validation_rmsd_{state}": rmsd + 0.03 for state, rmsd in ALONE.items()}
FLOORS = {"least_nearest_count": 3.0}


@dataclass(frozen=True)
class SeedResult:
    """One finished seed: wall time of the whole job in seconds, and its scores."""

    seed: int
    seconds: float
    states: list[StateScore]
    ensembles: list[EnsembleScore]


def measure(name: str, work: Path) -> dict[str, float]:
    """Run all seeds of the benchmark `name` in `work` and gather their metrics; raises TrainingError if a job fails."""
    recipe = load_recipe(ROOT / RECIPES[name])
    return gather([run_seed(recipe, seed, work / f"seed-{seed}") for seed in SEEDS])


def run_seed(recipe: Recipe, seed: int, home: Path) -> SeedResult:
    """Run the pipeline with `seed` in the empty folder `home`, on a Ray head of its own.

    A seed that was finished at the same revision (without local changes) is read back; an interrupted one starts
    anew, since its wall time would say nothing. Raises TrainingError if the job ends with another exit code than 0.
    """
    seeded = recipe.model_copy(update={"seed": seed})
    revision = git_revision(ROOT)
    identity = {"revision": revision, "recipe": digest(seeded)}
    record = home / "record.json"
    if record.is_file():
        kept = json.loads(record.read_text())
        if not revision.endswith("+changes") and {key: kept[key] for key in identity} == identity:
            return SeedResult(seed, kept["seconds"], *read_scores(_scores(home)))
    if home.exists():
        shutil.rmtree(home)
    home.mkdir(parents=True)
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(seeded.model_dump(mode="json"), sort_keys=False))
    command = [sys.executable, "-m", "jobs.local", "--recipe", str(path), "--home", str(home)]
    began = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    seconds = time.monotonic() - began
    if code:
        raise TrainingError(f"{path}: the job ended with exit code {code}; its log is above")
    aside = record.with_suffix(".part")
    aside.write_text(json.dumps({**identity, "seconds": seconds}) + "\n")
    os.replace(aside, record)
    return SeedResult(seed, seconds, *read_scores(_scores(home)))


def gather(results: Sequence[SeedResult]) -> dict[str, float]:
    """Flat metrics: means over the seeds first, then those of every seed (`seed<k>_...`).

    Stereochemistry and `least_nearest_count` are the worst of all systems and seeds, so that a mean cannot hide one.
    """
    per_seed = [_seed_metrics(result) for result in results]
    metrics = {name: float(np.mean([row[name] for row in per_seed])) for name in per_seed[0]}
    held_out = [score for result in results for score in result.states if score.split == "held_out"]
    recall = _mean(score.recall_rmsd for score in held_out)
    metrics["static_rmsd"] = _mean(score.static_rmsd for score in held_out)
    metrics["normal_modes_rmsd"] = _mean(score.normal_modes_rmsd for score in held_out)
    metrics["validation_over_static"] = recall / metrics["static_rmsd"]
    metrics["validation_over_normal_modes"] = recall / metrics["normal_modes_rmsd"]
    metrics["least_nearest_count"] = float(min(score.nearest_count for result in results for score in result.states))
    ensembles = [ensemble for result in results for ensemble in result.ensembles]
    metrics["backbone_bond_rms"] = max(ensemble.backbone_bond_rms for ensemble in ensembles)
    metrics["diversity"] = _mean(ensemble.diversity for ensemble in ensembles)
    excess = [ensemble.ramachandran_excess for ensemble in ensembles if ensemble.ramachandran_excess is not None]
    coverage = [ensemble.ramachandran_coverage for ensemble in ensembles if ensemble.ramachandran_coverage is not None]
    if excess and coverage:
        metrics["ramachandran_excess"] = max(excess)
        metrics["ramachandran_coverage"] = min(coverage)
    for result, row in zip(results, per_seed, strict=True):
        metrics |= {f"seed{result.seed}_{name}": value for name, value in row.items()}
    return metrics


def _seed_metrics(result: SeedResult) -> dict[str, float]:
    trained = [score.recall_rmsd for score in result.states if score.split == "train"]
    metrics = {"train_rmsd": _mean(trained)} if trained else {}
    for score in result.states:
        if score.split == "held_out":
            metrics[f"validation_rmsd_{_state_name(score)}"] = score.recall_rmsd
    return metrics | {"seconds": result.seconds}


def _state_name(score: StateScore) -> str:
    """`4cln_a`, whether the catalog calls the state `a` or `4CLN_a`."""
    system, state = score.system_id.lower(), score.state_id.lower()
    return state if state.startswith(f"{system}_") else f"{system}_{state}"


def _scores(home: Path) -> Path:
    """The one file of scores in a home that has run one recipe."""
    from jobs.ensembles import SCORES

    found = sorted(home.glob(f"evaluate-*/{SCORES}"))
    if len(found) != 1:
        raise TrainingError(
            f"{home}: {len(found)} evaluations, expected 1; delete the folder and run the benchmark again"
        )
    return found[0]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
