"""The report's plots: scores along the chains for every state, and map-model Fourier shell correlations."""

import html
import json
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import to_hex
from plotly.subplots import make_subplots

from cryofound.evaluation.scored_model import Residue
from cryofound.report.build_report import BuildReport

PALETTE = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
INK, GRID = "#33404d", "#e6eaee"
PROFILES = {"correlation": "correlation with the map", "displacement": "CA moved, Å", "b_factor": "B-factor, Å²"}
TICKS, SPACINGS = 16, (5, 10, 20, 50, 100, 200, 500, 1000)  # at most so many residue numbers, so far apart
NAMED_CHAINS = 24


def state_colours(count: int) -> list[str]:
    """A colour for each state: distinct ones for a few, a scale in their order for many."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [to_hex(colour) for colour in matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count))]


def profiles_figure(report: BuildReport) -> dict[str, Any]:
    """PROFILES one under another over the residues in file order, as plotly's JSON.

    The page fills in y and the residues' names, which it holds already: `meta` says of which state and quantity.
    """
    figure = make_subplots(rows=len(PROFILES), shared_xaxes=True, vertical_spacing=0.05)
    count = len(report.states)
    colours = state_colours(count)
    for row, (quantity, title) in enumerate(PROFILES.items(), start=1):
        for number, (state, colour) in enumerate(zip(report.states, colours, strict=True)):
            figure.add_trace(
                go.Scatter(
                    name=html.escape(state.state_id),
                    meta={"state": number, "quantity": quantity},
                    mode="lines",
                    line={"width": 1.4, "color": colour},
                    legendgroup=str(number),
                    showlegend=row == 1 and count > 1,
                    hovertemplate="%{text}: %{y:.2f}<extra>" + html.escape(state.state_id) + "</extra>",
                ),
                row=row,
                col=1,
            )
        figure.update_yaxes(title_text=title, row=row)
    along_the_chains(figure, report.states[0].model.residues, len(PROFILES))
    return finished(figure, 640)


def fsc_figure(report: BuildReport) -> dict[str, Any]:
    """Map-model FSC over spatial frequency for every state with the map's resolution, as plotly's JSON."""
    figure = go.Figure()
    colours = state_colours(len(report.states))
    for number, (state, colour) in enumerate(zip(report.states, colours, strict=True)):
        name = html.escape(state.state_id)
        figure.add_trace(
            go.Scatter(
                x=[round(float(each), 5) for each in state.frequency],
                y=[round(float(each), 4) for each in state.fsc],
                name=name,
                meta={"state": number},
                mode="lines",
                line={"width": 1.8, "color": colour},
                showlegend=len(report.states) > 1,
                text=[f"{1 / each:.2f} Å" if each > 0 else "" for each in state.frequency],
                hovertemplate="%{text}: %{y:.3f}<extra>" + name + "</extra>",
            )
        )
    for resolution in sorted({state.resolution for state in report.states})[:4]:
        figure.add_vline(
            1 / resolution, line={"dash": "dot", "width": 1, "color": INK}, annotation_text=f"{resolution:g} Å"
        )
    figure.add_hline(0.5, line={"dash": "dot", "width": 1, "color": INK}, annotation_text="0.5")
    figure.update_xaxes(title_text="spatial frequency, 1/Å", rangemode="tozero")
    figure.update_yaxes(title_text="map-model FSC", range=[-0.1, 1.04])
    return finished(figure, 380)


def along_the_chains(figure: go.Figure, residues: Sequence[Residue], rows: int) -> None:
    """Residue numbers under the last row's axis; a line and the name where a chain begins."""
    starts = [row for row, each in enumerate(residues) if row == 0 or each.chain != residues[row - 1].chain]
    spacing = next(each for each in (*SPACINGS, len(residues)) if each * TICKS >= len(residues))
    ticks = [row for row, each in enumerate(residues) if each.number % spacing == 0]
    figure.update_xaxes(
        tickvals=ticks, ticktext=[str(residues[row].number) for row in ticks], range=[-1, len(residues)]
    )
    figure.update_xaxes(title_text="residue", row=rows)
    if 1 < len(starts) <= NAMED_CHAINS:
        for row in starts:
            figure.add_vline(row - 0.5, line={"width": 1, "color": "#c3ccd5"})
            figure.add_annotation(
                x=row, xref="x", y=1, yref="paper", yanchor="bottom", xanchor="left", showarrow=False,
                text=html.escape(residues[row].chain), font={"size": 11},
            )  # fmt: skip


def finished(figure: go.Figure, height: int) -> dict[str, Any]:
    """A figure in the look of all of a page's, as plotly's JSON; height in pixels."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 16, "t": 36, "b": 48},
        font={"family": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 12, "color": INK},
        legend={"orientation": "h", "y": 1.03, "yanchor": "bottom", "x": 0},
        hovermode="closest",
    )
    figure.update_xaxes(title_font_size=12)
    figure.update_yaxes(title_font_size=12)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor="#c3ccd5", ticks="outside", tickcolor="#c3ccd5")
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor="#c3ccd5")
    return json.loads(str(figure.to_json()))


def series(values: Sequence[float] | np.ndarray, places: int) -> list[float | None]:
    """Numbers for JSON, rounded; None for what is not known."""
    return [None if np.isnan(value) else round(float(value), places) for value in values]
