"""The report of a sampled ensemble as one HTML file: how far to trust it, the motion in 3D, every sample's scores."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from cryofound.report.figures import series, state_colours
from cryofound.report.page import write_page
from cryofound.report.sample_figures import motions_figure, profiles_figure
from cryofound.report.sample_report import SampleReport, path_through, turn_to_see
from cryofound.report.score_rows import Cell, Score, cell
from cryofound.report.viewer_data import viewer_data

NAME = "report.html"
SCRIPTS = ("unpack.js", "viewer.js", "controls.js", "sample.js")
MOST_ROWS = 500  # of the table
COLUMNS = (
    Score(
        "motion_1", "Motion 1", 2,
        "Where the sample lies along the first principal motion: how far from the ensemble's mean, as an RMS over all "
        "atoms.", "Å",
    ),
    Score(
        "rmsd", "From the reference", 2,
        "RMSD of the CA atoms from the reference, after superposition on it.", "Å",
    ),
    Score(
        "rama_outliers", "Ramachandran outliers", 2,
        "Residues with a twist of the backbone that is hardly ever seen in good structures; marked above 0.5 % "
        "where the reference has fewer.", "%",
    ),
    Score(
        "clashes", "Clashes per 1,000 atoms", 1,
        "Pairs of heavy atoms that lie too close, for 1,000 atoms, by this program's own count; marked where it "
        "is 5 above the reference's, which stands below the table.",
    ),
    Score(
        "repair", "Moved by repair", 3,
        "How far the atoms were moved, as an RMS, to make bonds, angles and contacts sound after the network had "
        "placed them.", "Å",
    ),
    Score(
        "symmetry_rmsd", "Off its symmetry", 3,
        "RMSD of the CA atoms between the complex and its turned self, for the turn that fits worst.", "Å",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class SampleRow:
    """A row of the table: a sample, its place on the slider or None, and its cells."""

    name: str
    slider: int | None
    cells: tuple[Cell, ...]


def write_sample_report(path: Path, report: SampleReport) -> None:
    """Write the page, whole or not at all, the same each time."""
    states_xyz = list(report.positions_xyz)
    reference_xyz = report.model.positions_xyz
    viewer = viewer_data(
        report.model, states_xyz, [None] * len(states_xyz), path_through(states_xyz), beside_xyz=reference_xyz
    )
    ca = _ca_rows(report)
    moved = np.full((len(states_xyz), len(report.model.residues)), np.nan)
    moved[:, ca >= 0] = np.linalg.norm(report.positions_xyz[:, ca[ca >= 0]] - reference_xyz[ca[ca >= 0]], axis=2)
    columns = [
        replace(score, limit=report.limits.get(score.quantity)) for score in COLUMNS if score.quantity in report.figures
    ]
    rows = _rows(report, columns)
    data = {
        "drawn": viewer.drawn
        | {"turn": turn_to_see(report.motions.motion_xyz[0]) if len(report.motions.share) else None},
        "figures": {"profiles": profiles_figure(report), "motions": motions_figure(report)},
        "residues": {name: series(report.profiles[name], 2) for name in ("uncertainty", "rmsf")},
        "states": [
            {
                "id": report.names[row],
                "colour": colour,
                "displacement": series(its, 2),
                "told": f"{report.figures['motion_1'][row]:+.2f} Å" if "motion_1" in report.figures else "",
            }
            for row, colour, its in zip(report.shown, state_colours(len(report.shown)), moved, strict=True)
        ],
    }
    context = {
        "report": report,
        "chains": len(viewer.drawn["chains"]),
        "columns": columns,
        "rows": rows,
        "rows_left": len(report.names) - len(rows),
        "reduced": _reduced(report, viewer.left_out),
        "settings": yaml.safe_dump(json.loads(json.dumps(report.facts.get("settings", {}))), sort_keys=False),
    }
    write_page(path, "sample.html", SCRIPTS, data, context)


def _ca_rows(report: SampleReport) -> np.ndarray:
    """(residue,) int64: the row of each residue's CA, -1 where it has none."""
    found = np.full(len(report.model.residues), -1)
    for row, each in enumerate(report.model.structure[0].all()):
        if each.atom.name == "CA":
            found[report.model.residue_index[row]] = row
    return found


def _rows(report: SampleReport, columns: Sequence[Score]) -> list[SampleRow]:
    """In the order of drawing, the first MOST_ROWS."""
    slider = {int(row): place for place, row in enumerate(report.shown)}
    found = []
    for row, name in enumerate(report.names[:MOST_ROWS]):
        values = [float(report.figures[score.quantity][row]) for score in columns]
        cells = (cell(None if np.isnan(value) else value, score) for value, score in zip(values, columns, strict=True))
        found.append(SampleRow(name, slider.get(row), tuple(cells)))
    return found


def _reduced(report: SampleReport, left_out: Sequence[str]) -> str:
    """What the page holds less than the files, in plain words."""
    told = []
    if len(report.shown) < len(report.names):
        told.append(f"The viewer has {len(report.shown)} of {len(report.names)} samples, evenly spaced along motion 1.")
    if left_out:
        told.append(f"Left out of this page: {'; '.join(left_out)}.")
    told.append("The files beside this page hold everything.")
    return " ".join(told)
