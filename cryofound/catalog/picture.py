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
    bands = [range(start, min(start + COLUMNS, len(names))) for start in range(0, len(names), COLUMNS)]
    figure = Figure(figsize=(INCHES * COLUMNS, (3 * INCHES + 0.2) * len(bands)), layout="constrained")
    FigureCanvasAgg(figure)
    edge = max(max(section.shape) for each in surveys for section in each.slices)
    shown = np.concatenate([section.ravel() for each in surveys for section in each.slices])
    low, high = (float(value) for value in np.percentile(shown, (1.0, 99.8)))
    # One image for a band: an axes for each of hundreds of sections would take minutes to lay out.
    for axes, band in zip(np.atleast_1d(figure.subplots(len(bands), 1)), bands, strict=True):
        mosaic = np.full((3 * edge, COLUMNS * edge), np.nan, np.float32)
        for column, number in enumerate(band):
            for row, section in enumerate(surveys[number].slices):
                height, width = section.shape
                mosaic[row * edge : row * edge + height, column * edge : column * edge + width] = section[::-1]
        axes.imshow(mosaic, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
        axes.set_xticks([(column + 0.5) * edge for column in range(len(band))], [names[number] for number in band])
        axes.set_yticks([(row + 0.5) * edge for row in range(3)], DIRECTIONS, rotation=90, va="center")
        axes.tick_params(length=0, labelsize=6, labeltop=True, labelbottom=False)
        axes.set_frame_on(False)
    return figure


def save_series_picture(path: Path, names: Sequence[str], surveys: Sequence[MapSurvey]) -> None:
    """Write `series_picture` as PNG; the file appears whole or not at all, equal input gives equal bytes."""
    picture = io.BytesIO()
    series_picture(names, surveys).savefig(picture, format="png", dpi=150, metadata={"Software": None})
    aside = path.with_name(path.name + ".partial")
    aside.write_bytes(picture.getvalue())
    os.replace(aside, path)
