"""The table of scores: what each number means in plain words, and whether it keeps its limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryofound.report.build_report import StateReport


@dataclass(frozen=True)
class Score:
    """A quantity of `ModelScore.metrics`, or of the free fit; `limit` is the highest value that is well."""

    quantity: str
    label: str
    places: int
    meaning: str
    unit: str = ""
    limit: float | None = None


@dataclass(frozen=True)
class Cell:
    """A value as it is shown, and whether it misses its limit."""

    text: str
    missed: bool


@dataclass(frozen=True)
class Row:
    """One score of all states."""

    score: Score
    cells: tuple[Cell, ...]


GEOMETRY = "Geometry"
GROUPS: Mapping[str, tuple[Score, ...]] = {
    "Fit to the map": (
        Score(
            "cc_mask", "CC mask", 3,
            "Correlation of the map with one computed from the model, in the space within reach of its atoms. "
            "1 is perfect; above 0.7 is usually good.",
        ),
        Score(
            "cc_mask_one_b", "CC mask, one B-factor", 3,
            "The same with one B-factor for all atoms: what the positions alone explain.",
        ),
        Score(
            "cc_volume", "CC volume", 3,
            "Correlation in the strongest voxels of the model's map, as many as the model is large.",
        ),
        Score(
            "cc_peaks", "CC peaks", 3,
            "Correlation in the strongest voxels of either map: it falls where strong density has no atoms.",
        ),
        Score(
            "cc_box", "CC box", 3,
            "Correlation over the whole box, so also of what the model leaves empty; neighbours in the map lower it.",
        ),
        Score(
            "q_score", "Q-score", 3,
            "How much the density about each atom looks like that of a well resolved atom; 1 at best, and the lower "
            "the coarser the map. Compare it with models of maps of the same resolution.",
        ),
        Score(
            "d_fsc_model_05", "Map-model FSC 0.5", 2,
            "Detail down to which map and model agree: where their Fourier shell correlation falls to 0.5. Near the "
            "map's resolution is good.", "Å",
        ),
        Score("b_factor_mean", "Mean B-factor", 0, "How far the density is smeared about the atoms, on average.", "Å²"),
    ),
    "Does it follow noise?": (
        Score(
            "seen", "Correlation, voxels seen", 3,
            "Blocks of the map were held back and a second model was built without them. This is how well the model "
            "of this report, which saw them, fits those blocks; with half maps, how well one built into the first "
            "fits the first.",
        ),
        Score(
            "free", "Correlation, voxels not seen", 3,
            "How well the model that did not see those blocks (or the other half map) fits them.",
        ),
        Score(
            "gap", "Difference", 3,
            "How much of the fit is gone where the map was not seen. A large difference means that the model may "
            "follow noise.", "", 0.02,
        ),
    ),
    GEOMETRY: (
        Score(
            "rama_outliers", "Ramachandran outliers", 2,
            "Residues with a twist of the backbone that is hardly ever seen in good structures.", "%", 0.5,
        ),
        Score(
            "rama_favored", "Ramachandran favoured", 1,
            "Residues with a twist of the backbone that is common; good structures have 98 %.", "%",
        ),
        Score(
            "rota_outliers", "Rotamer outliers", 2,
            "Side chains in a shape that is hardly ever seen in good structures.", "%", 1.5,
        ),
        Score(
            "cbeta_outliers", "C-beta outliers", 2,
            "Residues whose C-beta is more than 0.25 Å from where its backbone puts it: a sign of strain.", "%",
        ),
        Score(
            "clashscore", "Clashscore", 1,
            "Pairs of atoms that overlap by more than 0.4 Å, for 1,000 atoms, hydrogens included.", "", 6.0,
        ),
        Score(
            "molprobity", "MolProbity score", 2,
            "Clashes, rotamers and Ramachandran in one number on the scale of a resolution: lower is better.", "", 1.6,
        ),
    ),
}  # fmt: skip


def score_rows(states: Sequence[StateReport]) -> dict[str, list[Row]]:
    """The rows of every group; scores that no state has are left out, a dash stands where only some have."""
    found: dict[str, list[Row]] = {}
    for group, scores in GROUPS.items():
        for score in scores:
            values = [_value(state, score.quantity) for state in states]
            if any(value is not None for value in values):
                found.setdefault(group, []).append(Row(score, tuple(cell(value, score) for value in values)))
    return found


def missed(states: Sequence[StateReport]) -> list[str]:
    """In plain words, which values of the models' geometry miss their limits; of the free fit, a build warns itself."""
    told = []
    for row in score_rows(states).get(GEOMETRY, []):
        over = [(state, cell) for state, cell in zip(states, row.cells, strict=True) if cell.missed]
        if over:
            listed = ", ".join(f"{cell.text} in {state.state_id}" for state, cell in over[:6])
            more = f" and {len(over) - 6} more states" if len(over) > 6 else ""
            told.append(f"{row.score.label} above {row.score.limit:g}{_unit(row.score)}: {listed}{more}")
    return told


def _unit(score: Score) -> str:
    return f" {score.unit}" if score.unit else ""


def _value(state: StateReport, quantity: str) -> float | None:
    if quantity in ("seen", "free", "gap"):
        if state.free is None:
            return None
        seen, free = state.free
        return {"seen": seen, "free": free, "gap": seen - free}[quantity]
    return state.metrics.get(quantity)


def cell(value: float | None, score: Score) -> Cell:
    """A value as it is shown, a dash where it is not known."""
    if value is None:
        return Cell("–", False)
    return Cell(f"{value:.{score.places}f}", score.limit is not None and value > score.limit)
