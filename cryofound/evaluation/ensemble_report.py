"""Scores of ensembles as tables, as flat numbers, residue by residue and as matrices of distances."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from cryofound.evaluation.ensemble_maps import TargetMap, map_metrics
from cryofound.evaluation.ensemble_metrics import (
    QUANTITIES,
    EnsembleScore,
    Frame,
    TargetState,
    state_fluctuations,
    state_metrics,
)
from cryofound.evaluation.fluctuation import b_factors

STATES = "states"  # the row of the true states themselves
# heading, metrics of its column, decimal places
STATE_COLUMNS = (
    ("RMSD A", ("rmsd_precision", "rmsd_recall", "rmsd_wasserstein", "rmsd_diversity"), 2),
    ("CA RMSD A", ("ca_rmsd_precision", "ca_rmsd_recall", "ca_rmsd_wasserstein", "ca_rmsd_diversity"), 2),
    ("lDDT", ("lddt_precision", "lddt_recall", "lddt_diversity"), 3),
    ("CA lDDT", ("ca_lddt_precision", "ca_lddt_recall", "ca_lddt_diversity"), 3),
    ("RMSF r, rho", ("rmsf_pearson", "rmsf_spearman"), 2),
    ("RMSE A", ("rmsf_rmse",), 2),
)
MAP_COLUMNS = tuple(
    (heading, tuple(f"map_{kind}_{each}" for each in ("precision", "recall", "wasserstein")), 3)
    for kind, heading in (("distance", "sqrt(1 - CC)"), ("squared", "1 - CC"))
) + (("best CC", ("cc_volume_best",), 3),)


def ensemble_metrics(
    scores: Sequence[EnsembleScore],
    states: Sequence[TargetState],
    frame: Frame,
    maps: Sequence[TargetMap],
    correlations: Sequence[np.ndarray],
) -> dict[str, dict[str, float]]:
    """All numbers by ensemble and name; correlations: cc_volume of each ensemble, (sample, map)."""
    return {
        each.samples.name: state_metrics(each, states, frame) | (map_metrics(cc_volume, maps) if maps else {})
        for each, cc_volume in zip(scores, correlations, strict=True)
    }


def metrics_table(metrics: Mapping[str, Mapping[str, float]], title: str, columns: Iterable[tuple]) -> Table | None:
    """A row for each ensemble, a dash for what it cannot tell; None if there is nothing to show."""
    table = Table("ensemble", "n", title=title)
    shown = [each for each in columns if any(name in row for row in metrics.values() for name in each[1])]
    for heading, _, _ in shown:
        table.add_column(heading, justify="right")
    for method, row in metrics.items():
        cells = (
            " ".join(f"{row[name]:.{places}f}" if name in row else "-" for name in names) for _, names, places in shown
        )
        table.add_row(method, f"{row['samples']:.0f}", *cells)
    return table if shown else None


def state_table(metrics: Mapping[str, Mapping[str, float]]) -> Table | None:
    """What `ensemble_metrics` says of the states."""
    title = "Precision, recall, Wasserstein (of RMSD), diversity; fluctuation against that of the states"
    return metrics_table(metrics, title, STATE_COLUMNS)


def map_table(metrics: Mapping[str, Mapping[str, float]]) -> Table | None:
    """What `ensemble_metrics` says of the maps."""
    return metrics_table(metrics, "Precision, recall, Wasserstein of distances from the maps (CC_volume)", MAP_COLUMNS)


def write_ensemble_scores(
    folder: Path,
    metrics: Mapping[str, Mapping[str, float]],
    scores: Sequence[EnsembleScore],
    states: Sequence[TargetState],
    frame: Frame,
    maps: Sequence[TargetMap],
    correlations: Sequence[np.ndarray],
) -> None:
    """Write metrics.json (flat: `<ensemble>/<quantity>` to number), rmsf.csv, and matrices as csv, into `folder`.

    `<quantity>_states.csv` and `cc_volume_maps.csv` hold a row for each sample of each ensemble,
    `<ensemble>_<quantity>_pairs.csv` the distances between its samples.
    """
    flat = {f"{method}/{name}": value for method, row in metrics.items() for name, value in row.items()}
    (folder / "metrics.json").write_text(json.dumps(flat, indent=1, sort_keys=True) + "\n")
    _write_rmsf(folder / "rmsf.csv", scores, states, frame)
    for name in QUANTITIES if states else ():
        columns = [each.name for each in states]
        _write_rows(folder / f"{name}_states.csv", columns, scores, [each.to_states[name] for each in scores])
    if maps:
        _write_rows(folder / "cc_volume_maps.csv", [each.name for each in maps], scores, correlations)
    for each in scores:
        for name in QUANTITIES if len(each.paired) > 1 else ():
            rows = ((own, *_cells(values)) for own, values in zip(each.paired, each.pairs[name], strict=True))
            _write(folder / f"{each.samples.name}_{name}_pairs.csv", ("sample", *each.paired), rows)


def _write_rmsf(path: Path, scores: Sequence[EnsembleScore], states: Sequence[TargetState], frame: Frame) -> None:
    """RMSF and B of the CA of every residue, of each ensemble and of the states, empty where these lack the residue."""
    model = frame.model
    true = np.full(model.n_residues, np.nan)
    if (found := state_fluctuations(states, frame)) is not None:
        true[found[1]] = found[0]
    profiles = {each.samples.name: each.rmsf for each in scores} | {STATES: true}
    columns = [f"{name}_{kind}" for name in profiles for kind in ("rmsf", "b")]
    values = np.stack([each for rmsf in profiles.values() for each in (rmsf, b_factors(rmsf))], axis=1)
    places = zip(model.chain_id.tolist(), model.residue_number.tolist(), values, strict=True)
    rows = (
        (chain, number, *("" if np.isnan(each) else f"{each:.4f}" for each in row)) for chain, number, row in places
    )
    _write(path, ("chain", "number", *columns), rows)


def _write_rows(
    path: Path, columns: Sequence[str], scores: Sequence[EnsembleScore], matrices: Sequence[np.ndarray]
) -> None:
    rows = (
        (each.samples.name, own, *_cells(values))
        for each, matrix in zip(scores, matrices, strict=True)
        for own, values in zip(each.samples.names, matrix, strict=True)
    )
    _write(path, ("ensemble", "sample", *columns), rows)


def _cells(values: np.ndarray) -> list[str]:
    return [f"{each:.5f}" for each in values]


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
