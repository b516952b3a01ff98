"""Plots of a sampled ensemble: how sure it is and how far it moves along the chains, and where each sample lies."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cryofound.report.figures import PALETTE, along_the_chains, finished, series, state_colours
from cryofound.report.sample_report import SampleReport

PROFILES = {"rmsf": "RMSF of the CA, Å", "uncertainty": "uncertainty, Å"}


def profiles_figure(report: SampleReport) -> dict[str, Any]:
    """PROFILES one under another over the residues in file order, others beside the RMSF, as plotly's JSON.

    The page fills in y and the residues' names where `meta` says of which quantity, as it holds these already.
    """
    figure = make_subplots(rows=len(PROFILES), shared_xaxes=True, vertical_spacing=0.06)
    others = [name for name in report.profiles if name not in PROFILES]
    for row, (quantity, title) in enumerate(PROFILES.items(), start=1):
        trace = go.Scatter(name="these samples", meta={"quantity": quantity}, mode="lines", showlegend=False)
        trace.update(line={"width": 1.4, "color": PALETTE[row - 1]}, hovertemplate="%{text}: %{y:.2f} Å<extra></extra>")
        figure.add_trace(trace, row=row, col=1)
        figure.update_yaxes(title_text=title, rangemode="tozero", row=row)
    if others:
        figure.data[0].showlegend = True
    for number, name in enumerate(others):
        values = report.profiles[name]
        other = go.Scatter(y=series(values, 2), name=html.escape(name), mode="lines", connectgaps=False)
        other.update(line={"width": 1.2, "color": PALETTE[2 + number % 6], "dash": "dot"}, hoverinfo="skip")
        figure.add_trace(other, row=1, col=1)
    along_the_chains(figure, report.model.residues, len(PROFILES))
    return finished(figure, 460)


def motions_figure(report: SampleReport) -> dict[str, Any]:
    """Every sample by its places along the first two principal motions, as plotly's JSON; the shown ones in colour.

    A point's `customdata` is its place on the slider, -1 where the viewer does not have it.
    """
    place, share = report.motions.place, report.motions.share
    axes = [place[:, axis] if axis < place.shape[1] else np.zeros(len(place)) for axis in range(2)]
    slider = np.full(len(place), -1)
    slider[report.shown] = np.arange(len(report.shown))
    colours = np.array(["#c3ccd5", *state_colours(len(report.shown))])[slider + 1]
    trace = go.Scatter(
        x=series(axes[0], 3),
        y=series(axes[1], 3),
        mode="markers",
        marker={"size": 9 if len(place) <= 100 else 5, "color": colours.tolist()},
        text=[html.escape(name) for name in report.names],
        customdata=slider.tolist(),
        hovertemplate="%{text}: %{x:.2f} Å, %{y:.2f} Å<extra></extra>",
    )
    figure = go.Figure([trace])
    figure.update_xaxes(title_text=_axis(share, 0), zeroline=True)
    figure.update_yaxes(title_text=_axis(share, 1))
    return finished(figure, 380)


def _axis(share: Sequence[float] | np.ndarray, motion: int) -> str:
    told = f" ({100 * share[motion]:.0f} % of the variance)" if motion < len(share) else " (none)"
    return f"motion {motion + 1}, Å{told}"
