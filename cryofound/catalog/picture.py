"""A picture of a series: the middle sections of every state."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryofound.catalog.survey import MapSurvey

COLUMNS = 10
INCHES = 1.1
DIRECTIONS = ("across z", "across y", "across x")


def series_picture(names: Sequence[str], surveys: Sequence[MapSurvey]) -> Figure:
    """One column for each state, three rows for the three directions, in bands of COLUMNS states; one grey scale."""
    bands = -(-len(surveys) // COLUMNS)
    columns = min(len(surveys), COLUMNS)
    figure = Figure(figsize=(max(INCHES * columns, 3.0), INCHES * 3 * bands + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3 * bands, columns, squeeze=False)
    shown = np.concatenate([section.ravel() for each in surveys for section in each.slices])
    low, high = (float(value) for value in np.percentile(shown, (1.0, 99.8)))
    for each in axes.flat:
        each.set_axis_off()
    for number, (name, each) in enumerate(zip(names, surveys, strict=True)):
        band, column = divmod(number, COLUMNS)
        for row, section in enumerate(each.slices):
            place = axes[3 * band + row, column]
            place.imshow(section, cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-12))
            if row == 0:
                place.set_title(name, fontsize=6)
            if column == 0:
                place.text(-0.05, 0.5, DIRECTIONS[row], transform=place.transAxes, fontsize=6, rotation=90,
                           ha="right", va="center")  # fmt: skip
    return figure


def save_series_picture(path: Path, names: Sequence[str], surveys: Sequence[MapSurvey]) -> None:
    """Write `series_picture` as PNG; the file appears whole or not at all, equal input gives equal bytes."""
    picture = io.BytesIO()
    series_picture(names, surveys).savefig(picture, format="png", dpi=150, metadata={"Software": None})
    aside = path.with_name(path.name + ".partial")
    aside.write_bytes(picture.getvalue())
    os.replace(aside, path)
