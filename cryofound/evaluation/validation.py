"""Stereochemistry of a model by MolProbity's programs in cctbx, residue by residue."""

from collections import Counter
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from cryofound.evaluation.cctbx_program import run_program
from cryofound.evaluation.monomer_library import restrained_names
from cryofound.evaluation.scored_model import Residue, ScoredModel


@dataclass(frozen=True)
class TorsionScore:
    """Percent of the residues judged, by cctbx's own count: rama_outliers, rama_favored, rota_outliers, cbeta_outliers
    (off by 0.25 A and more; Lovell et al. 2003, doi:10.1002/prot.10286).

    By residue, its first conformation: rama and rota "favored", "allowed" or "outlier", cbeta the deviation in
    angstrom. rota_outliers and rota are None without reference data.
    """

    rama_outliers: float
    rama_favored: float
    rota_outliers: float | None
    cbeta_outliers: float
    rama: dict[Residue, str]
    rota: dict[Residue, str] | None
    cbeta: dict[Residue, float]


@dataclass(frozen=True)
class ClashScore:
    """clashscore: clashes over 0.4 A per 1000 atoms; clashes: how many each residue is part of; left_out: names of the
    residues that the library does not know, which were left out."""

    clashscore: float
    clashes: dict[Residue, int]
    left_out: tuple[str, ...]


def torsion_score(model: ScoredModel, library: Path | None, scratch: Path) -> TorsionScore:
    """Verdicts of ramalyze, rotalyze and cbetadev; `library` is `validation_library()` or None, `scratch` a folder.

    Sources: Williams et al. 2018, doi:10.1002/pro.3330; Hintze et al. 2016, doi:10.1002/prot.25039. Raises
    StructureError if cctbx fails.
    """
    path = scratch / "torsions.cif"
    model.write(path)
    told = run_program("torsion_process.py", (path, library or "none"), f"{model.path}: validation of torsions")
    rama, rota, cbeta = told["rama"], told["rota"], told["cbeta"]
    return TorsionScore(
        rama_outliers=_percent(rama, "outliers"),
        rama_favored=_percent(rama, "favored"),
        rota_outliers=None if rota is None else _percent(rota, "outliers"),
        cbeta_outliers=_percent(cbeta, "outliers"),
        rama={residue: verdict.lower() for residue, verdict in _first(rama["rows"]).items()},
        rota=None if rota is None else {residue: verdict.lower() for residue, verdict in _first(rota["rows"]).items()},
        cbeta=_first(cbeta["rows"]),
    )


def clash_score(model: ScoredModel, library: Path, scratch: Path) -> ClashScore:
    """MolProbity's clashscore by clashscore2, hydrogens placed by reduce2; minutes for a large model.

    `library` is `validation_library()`, `scratch` a folder. Raises StructureError if cctbx fails.
    """
    known = restrained_names(library)
    path = scratch / "clashes.cif"
    model.write(path, known)
    told = run_program("clash_process.py", (path, library), f"{model.path}: clashscore2")
    counts: Counter[Residue] = Counter()
    for pair in told["clashes"]:
        counts.update({Residue(*place) for place in pair})
    left_out = sorted({residue.name for residue in model.residues} - known)
    return ClashScore(told["clashscore"], dict(counts), tuple(left_out))


def molprobity_score(clashscore: float, rota_outliers: float, rama_favored: float) -> float:
    """The score that is like a resolution in angstrom, of a clashscore and two percentages.

    Source: Chen et al. 2010, doi:10.1107/S0907444909042073.
    """
    return (
        0.426 * log(1 + clashscore)
        + 0.33 * log(1 + max(0.0, rota_outliers - 1))
        + 0.25 * log(1 + max(0.0, 100 - rama_favored - 2))
        + 0.5
    )


def _percent(told: dict[str, Any], kind: str) -> float:
    """0 where nothing was judged."""
    return 100.0 * told[kind] / max(told["all"], 1)


def _first(rows: list[list]) -> dict:
    """The verdict on the first conformation of each residue."""
    return {Residue(*place): verdict for *place, verdict in reversed(rows)}
