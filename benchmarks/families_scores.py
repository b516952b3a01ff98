"""What was left out of one training, scored: samples beside the baselines that know as much as training did.

    python -m benchmarks.families_scores STORE SAMPLES [--other NAME=FOLDER]

SAMPLES and every FOLDER hold `<system>.npz` as jobs/ensembles.py writes them.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cryofound.ensemble.store import open_store
from cryofound.ensemble.system import System
from cryofound.errors import CryoFoundError, StoreError
from cryofound.evaluation.baselines import (
    best_amplitude,
    nearest_relative_ensemble,
    normal_modes_ensemble,
    relatives_field_ensemble,
    relatives_of,
    static_ensemble,
)
from cryofound.evaluation.motion import MotionScore, SpreadScore, left_out_motions, score_motions, score_spread
from cryofound.sampling.representatives import representatives
from cryofound.sampling.zero_shot import Ensemble

MODEL, STATIC, NORMAL_MODES, NEAREST, FIELD = "model", "static", "normal_modes", "nearest_relative", "relatives_field"
BASELINES = (STATIC, NORMAL_MODES, NEAREST, FIELD)
LOWEST_MODES = 3
RECEPTORS = "gpcr_class_a"
POOL = 8  # normal-mode samples for each that stands for them: the closest of one draw is a matter of luck


@dataclass(frozen=True)
class FoldScores:
    """Scores of every left-out conformer, and of every ensemble of a system that has one, by method."""

    motions: list[MotionScore]
    spreads: list[SpreadScore]


def score_fold(
    store: Path, samples: Path, others: Mapping[str, Path] | None = None, *, official: bool = True
) -> FoldScores:
    """Score the samples of all systems of a store that were held out or have states that were (`validation`).

    `others`, by name, are folders of further ensembles of the same systems. A system without samples is left out, and
    so is a method without an ensemble for it. `official` asks cctbx for the Ramachandran outliers of the samples.
    Raises StoreError if there are no samples at all.
    """
    systems = open_store(store)
    scores = FoldScores([], [])
    for system in systems.values():
        folders = {MODEL: samples, **(others or {})}
        drawn = {name: found for name in folders if (found := _read(folders[name], system.system_id)) is not None}
        away = left_out_motions(system)
        if MODEL not in drawn or not away:
            continue
        n = len(drawn[MODEL].positions_xyz)
        for method, ensemble in (drawn | baselines(system, list(systems.values()), n)).items():
            scores.motions.extend(score_motions(system, away, ensemble.positions_xyz, method))
            asked = official and method == MODEL
            scores.spreads.append(
                score_spread(system, ensemble.positions_xyz, method, official=asked, shares=ensemble.share)
            )
    if not scores.motions:
        raise StoreError(f"{samples}: no samples of a system that {store} has and training left out; sample again")
    return scores


def baselines(system: System, others: Sequence[System], n: int) -> dict[str, Ensemble]:
    """Ensembles for a system, by method, from what training knows of the others.

    Of normal modes the `n` that stand for a pool along the lowest LOWEST_MODES, of the amplitude with which `n` samples
    serve relatives best: chosen as the model's own are, the reference among them.
    """
    reference, relatives = system.reference, relatives_of(system, others)
    modes = normal_modes_ensemble(reference, POOL * n, LOWEST_MODES, best_amplitude(relatives, n, LOWEST_MODES))
    modes = np.concatenate([static_ensemble(reference), modes])
    chosen = representatives(reference, modes, n, kept=1)
    return {NORMAL_MODES: Ensemble(modes[chosen.row], chosen.share)} | {
        name: Ensemble(positions, np.full(len(positions), 1 / len(positions)))
        for name, positions in {
            STATIC: static_ensemble(reference),
            NEAREST: nearest_relative_ensemble(reference, relatives),
            FIELD: relatives_field_ensemble(reference, relatives),
        }.items()
    }


def flat_metrics(scores: FoldScores) -> dict[str, float]:
    """Means by name, of the folds of one seed put together.

    A family's number is the mean over its left-out systems of their mean over left-out conformers,
    `<family>_<quantity>` for the model and `<family>_<method>_<quantity>` for the rest. Conformers that are the
    reference itself count only in `worst_loss_vs_static`, and there only where a system has no other. Without a family:
    the mean over families.
    """
    metrics: dict[str, float] = {}
    methods = list(dict.fromkeys(each.method for each in scores.motions))
    for method in methods:
        infix = "" if method == MODEL else f"{method}_"
        rows = [each for each in scores.motions if each.method == method and not each.at_home]
        spreads = [each for each in scores.spreads if each.method == method]
        means = _by_family(rows, "recall_rmsd", f"{infix}rmsd" if infix else "recall_rmsd")
        for quantity in ("recovered_ca", "recovered_moving", "moving_rmsd", "core_rmsd"):
            means |= _by_family(rows, quantity, infix + quantity)
        for quantity in ("precision_rmsd", "wasserstein", "bond_rms", "clashscore", "ramachandran_outliers"):
            means |= _by_family(spreads, quantity, infix + quantity)
        metrics |= {f"{family}_{name}": value for (family, name), value in means.items()}
        for name in dict.fromkeys(name for _, name in means):
            metrics[name] = float(np.mean([value for (_, each), value in means.items() if each == name]))
    metrics["worst_loss_vs_static"] = max(losses(scores.motions).values())
    return metrics | receptor_metrics(scores.motions)


def receptor_metrics(motions: Sequence[MotionScore], family: str = RECEPTORS) -> dict[str, float]:
    """Of one family, system by system: what was recovered, in how many the model beats the normal modes, and the lead.

    Shares are over CA: relatives say nothing about the turns of side chains. `<family>_over_relatives_field` is the
    lead over the mean displacement field of the relatives, as a share.
    """
    own = [each for each in motions if each.family == family and each.recovered_ca is not None]
    recovered = {
        method: _by_system((each for each in own if each.method == method), "recovered_ca")
        for method in (MODEL, NORMAL_MODES, FIELD)
    }
    if not recovered[MODEL]:
        return {}
    metrics = {f"{family}_recovered_ca_{name}": value for name, value in recovered[MODEL].items()}
    beaten = [recovered[MODEL][name] > recovered[NORMAL_MODES][name] for name in recovered[MODEL]]
    leads = [recovered[MODEL][name] - recovered[FIELD][name] for name in recovered[MODEL]]
    return metrics | {
        f"{family}_systems": float(len(beaten)),
        f"{family}_beats_normal_modes": float(sum(beaten)),
        f"{family}_over_relatives_field": float(np.mean(leads)),
    }


def losses(motions: Iterable[MotionScore]) -> dict[str, float]:
    """By system: how much worse than the reference the model's closest sample is, angstrom, mean over its conformers.

    Conformers that are the reference itself count only where a system has no other.
    """
    rows = [each for each in motions if each.method == MODEL]
    moving = {each.system_id for each in rows if not each.at_home}
    counted = [each for each in rows if not each.at_home or each.system_id not in moving]
    recall, static = (_by_system(counted, name) for name in ("recall_rmsd", "static_rmsd"))
    return {name: recall[name] - static[name] for name in recall}


def score_table(motions: Sequence[MotionScore]) -> Table:
    """A row for each left-out conformer: share of its CA motion recovered and RMSD of the closest, by method."""
    methods = list(dict.fromkeys(each.method for each in motions))
    table = Table(title="Share of the moving CA's displacement recovered | RMSD of the closest sample, angstrom")
    for name in ("family", "system", "conformer", "moving"):
        table.add_column(name, justify="right" if name == "moving" else "left")
    for method in methods:
        table.add_column(method.replace("_", " "), justify="right")
    for key in dict.fromkeys((each.family, each.system_id, each.conformer) for each in motions):
        rows = {each.method: each for each in motions if (each.family, each.system_id, each.conformer) == key}
        first = next(iter(rows.values()))
        table.add_row(*key, str(first.n_moving), *(_cell(rows.get(method)) for method in methods))
    return table


def _cell(score: MotionScore | None) -> str:
    if score is None:
        return "-"
    recovered = "-" if score.recovered_ca is None else f"{score.recovered_ca:.2f}"
    return f"{recovered} | {score.recall_rmsd:.2f}"


def _read(folder: Path, system_id: str) -> Ensemble | None:
    from jobs.ensembles import read_ensemble  # loads Ray

    return read_ensemble(folder, system_id) if (folder / f"{system_id}.npz").is_file() else None


Row = MotionScore | SpreadScore


def _by_system(rows: Iterable[Row], quantity: str) -> dict[str, float]:
    """Mean over the rows of each system that have the quantity."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if (value := getattr(row, quantity)) is not None:
            values.setdefault(row.system_id, []).append(value)
    return {name: float(np.mean(each)) for name, each in values.items()}


def _by_family(rows: Sequence[Row], quantity: str, name: str) -> dict[tuple[str, str], float]:
    """(family, name): mean over the systems of each family that have the quantity."""
    found = {}
    for family in dict.fromkeys(row.family for row in rows):
        values = _by_system((row for row in rows if row.family == family), quantity)
        if values:
            found[family, name] = float(np.mean(list(values.values())))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the metrics; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families_scores", description="Score one training.")
    parser.add_argument("store", type=Path, help="folder of the system store")
    parser.add_argument("samples", type=Path, help="folder of the samples")
    parser.add_argument("--other", action="append", default=[], metavar="NAME=FOLDER", help="further ensembles")
    parser.add_argument("--quick", action="store_true", help="without Ramachandran outliers")
    given = parser.parse_args(arguments)
    if not all("=" in each for each in given.other):
        parser.error("--other takes NAME=FOLDER")
    others = {name: Path(folder) for name, _, folder in (each.partition("=") for each in given.other)}
    try:
        scores = score_fold(given.store, given.samples, others, official=not given.quick)
    except CryoFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 160).print(score_table(scores.motions))
    for name, value in flat_metrics(scores).items():
        print(f"{name} {value:.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
