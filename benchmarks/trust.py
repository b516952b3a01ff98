"""Is the error that a verdict foretells the error that is made? Over the systems that the families benchmark left out.

    python -m benchmarks trust

Reads the finished folds of `python -m benchmarks families` (in `families` beside its own folder; CRYOFOUND_FAMILIES
names another) and trains nothing. True error: RMSD of the nearest sample, mean over the true states of a left-out
system but the reference itself. A system's error is foretold by coefficients that were fitted to the other folds; those
of all folds are what cryofound/sampling/trust.json ships, and are printed.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls
from scipy.stats import rankdata

from benchmarks.families import FOLDS, SEEDS
from benchmarks.families_scores import RECEPTORS
from cryofound.config import load_recipe
from cryofound.ensemble.store import STORE, open_store
from cryofound.errors import TrainingError
from cryofound.evaluation.metrics import conformers, state_distances
from cryofound.manifest import is_finished
from cryofound.sampling.members import members_of
from cryofound.sampling.newcomer import find_family
from cryofound.sampling.trust import Evidence, Predictor, gather_evidence, shipped_predictor

LIMITS: dict[str, float] = {}
FLOORS = {f"spearman_seed{seed}": 0.6 for seed in SEEDS}
PLACE = "CRYOFOUND_FAMILIES"
COEFFICIENTS = ("offset", "unlike", "missing")


@dataclass(frozen=True)
class Case:
    """One left-out system of one training; error and at_home (all its states are the reference) in angstrom."""

    fold: int
    seed: int
    system_id: str
    family: str
    error: float
    at_home: bool
    evidence: Evidence


def measure(work: Path) -> dict[str, float]:
    """Gather what is not known yet into `work`, foretell, compare; raises TrainingError where a fold is not there."""
    homes = Path(os.environ.get(PLACE, work.parent / "families"))
    known = [case for seed in SEEDS for fold in FOLDS for case in gathered(homes, work, fold, seed)]
    cases = [case for case in known if not case.at_home]
    errors = np.array([case.error for case in cases])
    seeds = np.array([case.seed for case in cases])
    foretold = crossed(cases, "fold", fit)
    rivals = {
        "identity_alone": crossed(cases, "fold", lambda part: fit(part, missing=False)),
        "missing_motion_alone": crossed(cases, "fold", lambda part: fit(part, unlike=False)),
        "families_left_out": crossed(cases, "family", fit),
        "narrow_samples": np.array([-case.evidence.latent_spread for case in cases]),
    }
    metrics: dict[str, float] = {"systems": len(cases) / len(SEEDS)}
    for seed in SEEDS:
        rows = seeds == seed
        metrics[f"spearman_seed{seed}"] = _spearman(foretold[rows], errors[rows])
        receptors = rows & np.array([case.family == RECEPTORS for case in cases])
        metrics[f"spearman_receptors_seed{seed}"] = _spearman(foretold[receptors], errors[receptors])
        metrics |= {
            f"spearman_{name}_seed{seed}": _spearman(values[rows], errors[rows]) for name, values in rivals.items()
        }
    whole = crossed(known, "fold", lambda part: fit([case for case in part if not case.at_home]))
    metrics["spearman_with_home"] = float(np.mean([_spearman(*_of_seed(known, whole, seed)) for seed in SEEDS]))
    ratio = foretold / errors
    metrics["mean_absolute_error"] = float(np.abs(foretold - errors).mean())
    metrics["mean_factor"] = float(np.exp(np.abs(np.log(ratio)).mean()))
    metrics["largest_factor"] = float(np.maximum(ratio, 1 / ratio).max())
    metrics["families_left_out_absolute_error"] = float(np.abs(rivals["families_left_out"] - errors).mean())
    found, shipped = fit(cases), shipped_predictor()
    told = {name: getattr(found, name) for name in COEFFICIENTS}
    metrics |= {f"coefficient_{name}": value for name, value in told.items()}
    metrics["shipped_differ_by"] = max(abs(value - getattr(shipped, name)) for name, value in told.items())
    Console(width=120).print(_table(cases, foretold))
    print(json.dumps({"coefficients": {name: round(value, 3) for name, value in told.items()}}))
    return metrics


def gathered(homes: Path, work: Path, fold: int, seed: int) -> list[Case]:
    """The left-out systems of one training; kept in `work`."""
    record = work / f"fold-{fold}-seed-{seed}.json"
    if not record.is_file():
        found = _gather(homes / f"fold-{fold}" / f"seed-{seed}", fold, seed)
        work.mkdir(parents=True, exist_ok=True)
        aside = record.with_suffix(".part")
        aside.write_text(json.dumps([asdict(case) for case in found], indent=1) + "\n")
        os.replace(aside, record)
    rows = json.loads(record.read_text())
    return [Case(**{**row, "evidence": Evidence(**row["evidence"])}) for row in rows]


def fit(cases: Sequence[Case], *, unlike: bool = True, missing: bool = True) -> Predictor:
    """Least squares of the logarithm of the error with slopes of at least 0; a feature that is left out has slope 0."""
    features = np.array([[1 - case.evidence.identity, case.evidence.missing_motion] for case in cases])
    features = features * [unlike, missing]
    target = np.log([case.error for case in cases])
    slopes, _ = nnls(features - features.mean(0), target - target.mean())
    return Predictor(float(target.mean() - features.mean(0) @ slopes), *slopes.tolist())


def crossed(cases: Sequence[Case], part: str, fitted: Callable[[list[Case]], Predictor]) -> np.ndarray:
    """(case,) angstrom: each error as foretold by what was fitted to the cases of all other parts (fold, family)."""
    own = [getattr(case, part) for case in cases]
    predictors = {name: fitted([case for case in cases if getattr(case, part) != name]) for name in dict.fromkeys(own)}
    return np.array([predictors[name].error(case.evidence) for name, case in zip(own, cases, strict=True)])


def _gather(home: Path, fold: int, seed: int) -> list[Case]:
    folders = {}
    for step in (STORE, "stage1", "sample"):
        there = [each for each in sorted(home.glob(f"{step}-*")) if is_finished(each)]
        if len(there) != 1:
            raise TrainingError(
                f"{home}: {len(there)} finished folders {step}-*, expected 1; run `python -m benchmarks families`, or "
                f"set {PLACE} to where it ran"
            )
        folders[step] = there[0]
    members = members_of(load_recipe(home / "recipe.yaml"), folders[STORE], folders["stage1"])
    cases = []
    for system in open_store(folders[STORE]).values():
        if system.split == "train":
            continue
        samples = np.load(folders["sample"] / f"{system.system_id}.npz")["positions_xyz"]
        known = conformers(system)
        counted = [each for each in known if not each.at_home] or known
        distances = state_distances(system, samples, [each.rows[0] for each in counted])
        relation = find_family(system.reference, members)
        # Draws of residuals have no part in the predictor: none are made.
        evidence = gather_evidence(members, system, relation, samples, samples[None])
        error = float(distances.min(0).mean())
        cases.append(Case(fold, seed, system.system_id, system.family, error, counted[0].at_home, evidence))
        print(f"fold={fold} seed={seed} system={system.system_id} error={error:.2f}", flush=True)
    return cases


def _of_seed(cases: Sequence[Case], foretold: np.ndarray, seed: int) -> tuple[list[float], list[float]]:
    rows = [row for row, case in enumerate(cases) if case.seed == seed]
    return [float(foretold[row]) for row in rows], [cases[row].error for row in rows]


def _spearman(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def _table(cases: Sequence[Case], foretold: np.ndarray) -> Table:
    table = Table(title="Error of left-out systems, angstrom, mean over seeds")
    for column in ("system", "fold", "identity", "missing motion", "foretold", "true"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for name in sorted({case.system_id for case in cases}, key=lambda name: [c.system_id for c in cases].index(name)):
        rows = [row for row, case in enumerate(cases) if case.system_id == name]
        first = cases[rows[0]]
        missing = np.mean([cases[row].evidence.missing_motion for row in rows])
        table.add_row(
            name, str(first.fold), f"{first.evidence.identity:.2f}", f"{missing:.2f}",
            f"{foretold[rows].mean():.2f}", f"{np.mean([cases[row].error for row in rows]):.2f}",
        )  # fmt: skip
    return table
