"""The scores of a run as a table, as flat metrics and as a JSON file."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from cryofound.ensemble.system import System
from cryofound.errors import StoreError
from cryofound.evaluation.metrics import ScoreSplit, StateScore, check_ensemble, diversity
from cryofound.evaluation.stereochemistry import backbone_bond_deviation, ramachandran

SCHEMA_VERSION = 1
STATE_QUANTITIES = ("recall_rmsd", "static_rmsd", "normal_modes_rmsd")
ENSEMBLE_QUANTITIES = (
    "diversity",
    "backbone_bond_rms",
    "ramachandran_outliers",
    "ramachandran_excess",
    "ramachandran_coverage",
)


@dataclass(frozen=True)
class EnsembleScore:
    """What is true of a system's samples as a whole.

    split: "held_out" or "train", the split of the system. diversity: mean pairwise RMSD, angstrom. backbone_bond_rms:
    RMS difference of backbone bond lengths from the reference's, angstrom. ramachandran_outliers (mean over the
    samples) and ramachandran_outliers_reference: percent by cctbx ramalyze; ramachandran_coverage: residues that
    ramalyze could evaluate in the samples over those in the reference, below 1 where chains are torn. None where
    cctbx is not installed.
    """

    system_id: str
    family: str
    split: ScoreSplit
    n_samples: int
    diversity: float
    backbone_bond_rms: float
    ramachandran_outliers: float | None
    ramachandran_outliers_reference: float | None
    ramachandran_coverage: float | None

    @property
    def ramachandran_excess(self) -> float | None:
        """Percentage points of outliers beyond the reference's; negative where the samples are better."""
        if self.ramachandran_outliers is None or self.ramachandran_outliers_reference is None:
            return None
        return self.ramachandran_outliers - self.ramachandran_outliers_reference


def evaluate_ensemble(system: System, samples_xyz: np.ndarray) -> EnsembleScore:
    """Score the samples (sample, atom, 3) of one system as a whole; raises StructureError as `evaluate_system` does."""
    check_ensemble(system, samples_xyz, "samples")
    reference = system.reference
    counts = ramachandran(reference, np.concatenate([reference.positions_xyz[None], samples_xyz]))
    return EnsembleScore(
        system_id=system.system_id,
        family=system.family,
        split=system.split,
        n_samples=len(samples_xyz),
        diversity=diversity(samples_xyz),
        backbone_bond_rms=backbone_bond_deviation(reference, samples_xyz),
        ramachandran_outliers=None if counts is None else float(counts.percent[1:].mean()),
        ramachandran_outliers_reference=None if counts is None else float(counts.percent[0]),
        ramachandran_coverage=None if counts is None else float(counts.coverage[1:].mean()),
    )


def flat_metrics(states: Sequence[StateScore], ensembles: Sequence[EnsembleScore]) -> dict[str, float]:
    """Means by name: `scores/<split>_<quantity>` over states, `family/<family>/<quantity>` over systems.

    Splits are train, validation and held_out; each has `scores/<split>_least_nearest_count`, the smallest count of
    samples at any of its states. A family has the mean of its systems' means (`system_metrics`), over all of them and,
    as `family/<family>/held_out_<quantity>`, over those never seen in training.
    """
    metrics: dict[str, float] = {}
    for split in ("train", "validation", "held_out"):
        chosen = [score for score in states if score.split == split]
        if chosen:
            for quantity in STATE_QUANTITIES:
                metrics[f"scores/{split}_{quantity}"] = float(np.mean([getattr(score, quantity) for score in chosen]))
            metrics[f"scores/{split}_least_nearest_count"] = float(min(score.nearest_count for score in chosen))
    systems = system_metrics(states, ensembles)
    for family in sorted({ensemble.family for ensemble in ensembles}):
        members = [ensemble for ensemble in ensembles if ensemble.family == family]
        held_out = [ensemble for ensemble in members if ensemble.split == "held_out"]
        for prefix, group in (("", members), ("held_out_", held_out)):
            rows = [systems[ensemble.system_id] for ensemble in group]
            for name in sorted({name for row in rows for name in row}):
                values = [row[name] for row in rows if name in row]
                metrics[f"family/{family}/{prefix}{name.removeprefix('scores/')}"] = float(np.mean(values))
    return metrics


def system_metrics(states: Sequence[StateScore], ensembles: Sequence[EnsembleScore]) -> dict[str, dict[str, float]]:
    """For every system `scores/<quantity>`: its mean over the known states, or what is true of its ensemble as a whole.

    Scores that are None are left out.
    """
    systems: dict[str, dict[str, float]] = {}
    for ensemble in ensembles:
        own = [score for score in states if score.system_id == ensemble.system_id]
        metrics = {name: np.mean([getattr(score, name) for score in own]) for name in STATE_QUANTITIES if own}
        whole = {name: getattr(ensemble, name) for name in ENSEMBLE_QUANTITIES}
        systems[ensemble.system_id] = {
            f"scores/{name}": float(value) for name, value in (metrics | whole).items() if value is not None
        }
    return systems


def series_metrics(states: Sequence[StateScore], system_id: str) -> list[tuple[int, dict[str, float]]]:
    """`states/<quantity>` of one system, its states in the place of steps: a curve along the series."""
    own = [score for score in states if score.system_id == system_id]
    quantities = (*STATE_QUANTITIES, "nearest_count")
    return [
        (step, {f"states/{name}": float(getattr(score, name)) for name in quantities}) for step, score in enumerate(own)
    ]


def state_table(states: Sequence[StateScore]) -> Table:
    """The table a run ends with: one row per state, closest sample beside the static reference and normal modes."""
    table = Table(title="RMSD to the true states in angstrom: closest sample and baselines")
    columns: dict[str, Callable[[StateScore], str]] = {
        "system": lambda score: score.system_id,
        "state": lambda score: score.state_id,
        "split": lambda score: score.split.replace("_", " "),
        "atoms": lambda score: str(score.n_atoms),
        "sample": lambda score: f"{score.recall_rmsd:.2f}",
        "static": lambda score: f"{score.static_rmsd:.2f}",
        "modes": lambda score: f"{score.normal_modes_rmsd:.2f}",
        "nearest": lambda score: f"{score.nearest_count} of {score.n_samples}",
    }
    return _filled(table, columns, states, left=3)


def ensemble_table(ensembles: Sequence[EnsembleScore]) -> Table:
    """One row per system: spread and stereochemistry of its samples."""
    table = Table(title="Ensembles: spread and bond error in angstrom, Ramachandran in percent")
    columns: dict[str, Callable[[EnsembleScore], str]] = {
        "system": lambda score: score.system_id,
        "split": lambda score: score.split.replace("_", " "),
        "spread": lambda score: f"{score.diversity:.2f}",
        "bonds": lambda score: f"{score.backbone_bond_rms:.3f}",
        "outliers": lambda score: _percent(score.ramachandran_outliers),
        "(reference)": lambda score: f"({_percent(score.ramachandran_outliers_reference)})",
        "evaluated": lambda score: _percent(score.ramachandran_coverage, 100.0),
    }
    return _filled(table, columns, ensembles, left=2)


def write_scores(path: Path, states: Sequence[StateScore], ensembles: Sequence[EnsembleScore]) -> None:
    """Write all scores as JSON, aside first and then renamed, so that a reader never sees half a file."""
    payload = {
        "schema_version": SCHEMA_VERSION,
        "states": [asdict(score) for score in states],
        "ensembles": [asdict(score) for score in ensembles],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(payload, indent=1, sort_keys=True) + "\n")
    os.replace(aside, path)


def read_scores(path: Path) -> tuple[list[StateScore], list[EnsembleScore]]:
    """The inverse of `write_scores`; raises StoreError naming the file."""
    try:
        payload = json.loads(path.read_text())
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; run the evaluation step again") from None
    except json.JSONDecodeError as error:
        raise StoreError(f"{path}: not JSON ({error}); delete it and run the evaluation step again") from None
    version = payload.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}; evaluate again")
    return [StateScore(**row) for row in payload["states"]], [EnsembleScore(**row) for row in payload["ensembles"]]


def _filled(table: Table, columns: dict, rows: Sequence, left: int) -> Table:
    for position, name in enumerate(columns):
        table.add_column(name, justify="left" if position < left else "right")
    for row in rows:
        table.add_row(*(cell(row) for cell in columns.values()))
    return table


def _percent(value: float | None, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value * unit:.1f}"
