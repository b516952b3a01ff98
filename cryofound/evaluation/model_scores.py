"""Every score of models in maps: several at a time, as a table, as flat numbers and residue by residue."""

import csv
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cryofound.evaluation.map_model import MapModelScore, map_model_score, require_cover
from cryofound.evaluation.q_score import q_scores
from cryofound.evaluation.scored_model import ScoredModel
from cryofound.evaluation.validation import ClashScore, TorsionScore, clash_score, molprobity_score, torsion_score
from cryofound.maps.density_map import DensityMap

MAP_MODEL_FSC = 0.5
COLUMNS = ("model", "chain", "number", "insertion", "name", "b_factor", "cc", "q", "rama", "rota", "clashes", "cbeta")
QUANTITIES = {
    "cc_mask": "CC mask", "cc_mask_one_b": "(one B)", "cc_volume": "CC volume", "cc_peaks": "CC peaks",
    "cc_box": "CC box", "q_score": "Q", "d_fsc_model_05": "FSC 0.5", "rama_outliers": "rama %",
    "rama_favored": "favoured %", "rota_outliers": "rota %", "cbeta_outliers": "CB %", "clashscore": "clashes",
    "molprobity": "MolProbity",
}  # fmt: skip
PLACES = {"cc_mask": 3, "cc_mask_one_b": 3, "cc_volume": 3, "cc_peaks": 3, "cc_box": 3, "q_score": 3, "molprobity": 2}


@dataclass(frozen=True)
class ModelScore:
    """All scores of one model in one map at a resolution in angstrom; q (atom,) is NaN but for first conformations.

    clash is None without reference data.
    """

    model: ScoredModel
    resolution: float
    fit: MapModelScore
    q: np.ndarray
    torsion: TorsionScore
    clash: ClashScore | None

    def metrics(self) -> dict[str, float]:
        """Every number there is, by the names of QUANTITIES and a few more: percent, angstrom, or neither."""
        rota, clash = self.torsion.rota_outliers, self.clash
        found = {
            **{name: getattr(self.fit, name) for name in ("cc_mask", "cc_volume", "cc_peaks", "cc_box")},
            "cc_mask_as_given": self.fit.cc_mask_as_given,
            "b_factors_fitted": float(self.fit.fitted),
            "b_factor_mean": float(self.fit.b_factor.mean()),
            "cc_residue_mean": float(np.mean(list(self.fit.cc_residue.values()))),
            "q_score": float(np.nanmean(self.q)),
            "d_fsc_model_05": self.fit.shells.resolution(MAP_MODEL_FSC),
            "resolution": self.resolution,
            "atoms": float(len(self.model.positions_xyz)),
            "rama_outliers": self.torsion.rama_outliers,
            "rama_favored": self.torsion.rama_favored,
            "cbeta_outliers": self.torsion.cbeta_outliers,
        }
        if self.fit.cc_mask_one_b is not None:
            found["cc_mask_one_b"] = self.fit.cc_mask_one_b
        if rota is not None:
            found["rota_outliers"] = rota
        if clash is not None:
            found["clashscore"] = clash.clashscore
        if rota is not None and clash is not None:
            found["molprobity"] = molprobity_score(clash.clashscore, rota, self.torsion.rama_favored)
        return found


def score_models(
    pairs: Sequence[tuple[ScoredModel, DensityMap]],
    resolutions: Sequence[float],
    library: Path | None,
    *,
    keep_b: bool = False,
    processes: int | None = None,
    advance: Callable[[str], None] = lambda done: None,
) -> list[ModelScore]:
    """Score each model in its map at its resolution (angstrom); `library` is `validation_library()` or None.

    Up to `processes` (default: the CPUs there are) run at once, three for each model; `advance` hears the name of each
    that is done. Raises StructureError as soon as one fails, and before anything runs if a model leaves its map.
    """
    for model, density in pairs:
        require_cover(density, model)
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cryofound-score-")))
        pool = stack.enter_context(ThreadPoolExecutor(processes or len(os.sched_getaffinity(0))))

        def submit(task: str, model: ScoredModel, function: Callable, *arguments, **options) -> Future[Any]:
            scratch = Path(tempfile.mkdtemp(dir=top))
            future = pool.submit(function, *arguments, scratch, **options)
            future.add_done_callback(lambda _: advance(f"{model.name}: {task}"))
            return future

        try:
            # the longest first, so that none is left over alone
            clashes = [submit("clashes", model, clash_score, model, library) if library else None for model, _ in pairs]
            fits = [
                submit("map", model, _fit, density, model, resolution, keep_b=keep_b)
                for (model, density), resolution in zip(pairs, resolutions, strict=True)
            ]
            torsions = [submit("torsions", model, torsion_score, model, library) for model, _ in pairs]
            scores = []
            for row, (model, _) in enumerate(pairs):
                fit, q = fits[row].result()
                clash = None if (found := clashes[row]) is None else found.result()
                scores.append(ModelScore(model, resolutions[row], fit, q, torsions[row].result(), clash))
            return scores
        finally:
            pool.shutdown(cancel_futures=True)


def score_table(scores: Sequence[ModelScore]) -> Table:
    """One row per model; a dash where a score needs reference data that is not there."""
    table = Table("model", title="Correlations, shares in percent, Q, angstrom where FSC is 0.5")
    for heading in QUANTITIES.values():
        table.add_column(heading, justify="right")
    for score in scores:
        metrics = score.metrics()
        cells = (f"{metrics[name]:.{PLACES.get(name, 1)}f}" if name in metrics else "-" for name in QUANTITIES)
        table.add_row(score.model.name, *cells)
    return table


def write_model_scores(folder: Path, scores: Sequence[ModelScore]) -> None:
    """Write scores.json (flat: `<model>/<quantity>` to number), residues.csv and fsc.csv, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = {f"{each.model.name}/{name}": value for each in scores for name, value in each.metrics().items()}
    aside = folder / "scores.json.partial"
    aside.write_text(json.dumps(flat, indent=1, sort_keys=True) + "\n")
    os.replace(aside, folder / "scores.json")
    _write_csv(folder / "residues.csv", COLUMNS, (row for each in scores for row in residue_rows(each)))
    curves = (
        (each.model.name, f"{frequency:.5f}", f"{correlation:.4f}")
        for each in scores
        for frequency, correlation in zip(each.fit.shells.frequency, each.fit.shells.correlation, strict=True)
    )
    _write_csv(folder / "fsc.csv", ("model", "frequency", "fsc"), curves)


def residue_rows(score: ModelScore) -> list[tuple[str, ...]]:
    """One row of COLUMNS for every residue, empty where it was not judged; b_factor and q are means over its atoms."""
    model, torsion = score.model, score.torsion
    b_factor = _residue_mean(model, score.fit.b_factor)
    q = _residue_mean(model, score.q)
    rows = []
    for row, residue in enumerate(model.residues):
        clashes = ""
        if score.clash is not None and residue.name not in score.clash.left_out:
            clashes = str(score.clash.clashes.get(residue, 0))
        rows.append(
            (
                model.name,
                residue.chain,
                str(residue.number),
                residue.insertion,
                residue.name,
                f"{b_factor[row]:.1f}",
                _cell(score.fit.cc_residue.get(residue), 4),
                _cell(q[row], 4),
                torsion.rama.get(residue, ""),
                (torsion.rota or {}).get(residue, ""),
                clashes,
                _cell(torsion.cbeta.get(residue), 3),
            )
        )
    return rows


def _fit(
    density: DensityMap, model: ScoredModel, resolution: float, scratch: Path, keep_b: bool
) -> tuple[MapModelScore, np.ndarray]:
    fit = map_model_score(density, model, resolution, scratch, keep_b=keep_b)
    q = np.full(len(model.positions_xyz), np.nan)
    q[model.first_conformation] = q_scores(density, model.positions_xyz[model.first_conformation])
    return fit, q


def _residue_mean(model: ScoredModel, values: np.ndarray) -> np.ndarray:
    """(residue,) mean of the values (atom,) that are numbers, NaN where none is."""
    known = np.isfinite(values)
    count, total = (
        np.bincount(model.residue_index[known], weights, len(model.residues)) for weights in (None, values[known])
    )
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _cell(value: float | None, places: int) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.{places}f}"


def _write_csv(path: Path, columns: Sequence[str], rows) -> None:
    aside = path.with_name(path.name + ".partial")
    with aside.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    os.replace(aside, path)
