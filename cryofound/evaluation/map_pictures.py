"""The picture of maps beside what a model makes of them: projections, their difference, and Fourier shells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.shells import shell_correlation

THRESHOLD = 0.5  # of a map against a model, Rosenthal & Henderson 2003, doi:10.1016/j.jmb.2003.07.013
DIFFERENCE = 0.25  # of the projection's largest value: where the difference has its full colour
_CURVE, _LIMIT = "#0072B2", "#7F7F7F"


@dataclass(frozen=True)
class Comparison:
    """A map and its reconstruction on one grid, of any scale; `resolution` of the map in angstrom."""

    label: str
    density: DensityMap
    reconstruction: DensityMap
    resolution: float


def comparison_picture(title: str, comparisons: Sequence[Comparison]) -> Figure:
    """A row of panels for each comparison, of maps on one grid: map, reconstruction, difference, shell correlation.

    The reconstruction is scaled and shifted to the map by least squares over all voxels, so that the difference is what
    shape alone leaves. All rows are projected along the axis that shows most of what differs between their maps, and
    show the same part of the box: where there is density.
    """
    figure = Figure(figsize=(13.0, 0.7 + 3.1 * len(comparisons)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    rows = figure.subplots(len(comparisons), 4, squeeze=False, width_ratios=(3, 3, 3, 4))
    fitted = [fitted_values(each) for each in comparisons]
    along = clearest_axis([each.density.values_zyx for each in comparisons])
    shown = _occupied(comparisons, along)
    for axes, comparison, values in zip(rows, comparisons, fitted, strict=True):
        _draw_projections(axes[:3], comparison, values, along, shown)
        _draw_shells(axes[3], comparison)
    for axes, name in zip(rows[0], ("map", "reconstruction", "difference", "Fourier shell correlation"), strict=True):
        axes.set_title(name, fontsize=10)
    return figure


def save_comparison_picture(path: Path, title: str, comparisons: Sequence[Comparison]) -> None:
    """Write `comparison_picture` as PNG (or what the suffix says); equal input gives equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    comparison_picture(title, comparisons).savefig(path, dpi=110, metadata={"Software": None})


def fitted_values(comparison: Comparison) -> np.ndarray:
    """(z, y, x) float64: the reconstruction, scaled and shifted to the map by least squares."""
    wanted = comparison.density.values_zyx.astype(np.float64)
    given = comparison.reconstruction.values_zyx.astype(np.float64)
    about = given - given.mean()
    power = (about**2).sum()
    scale = (about * (wanted - wanted.mean())).sum() / power if power else 0.0
    return scale * about + wanted.mean()


def correlation(comparison: Comparison) -> float:
    """Pearson correlation over all voxels (the ncc of training); 0 if either map is constant."""
    values, wanted = fitted_values(comparison), comparison.density.values_zyx.astype(np.float64)
    spread = wanted.std()
    return float(values.std() / spread) if spread else 0.0


def clearest_axis(maps_zyx: Sequence[np.ndarray]) -> int:
    """0, 1 or 2 for z, y or x: along which the projections of maps (z, y, x) differ most from each other."""
    spreads = [np.var([values.sum(axis) for values in maps_zyx], axis=0).sum() for axis in range(3)]
    return int(np.argmax(spreads))


def _occupied(comparisons: Sequence[Comparison], along: int) -> tuple[slice, slice]:
    """Rows and columns of the projection in which there is density, with a margin; all of them if there is none."""
    found = np.zeros(np.delete(comparisons[0].density.grid.shape_zyx, along), dtype=bool)
    for each in comparisons:
        # noise alone rarely reaches the higher share; what is rendered has no noise
        for density, share in ((each.density, 0.3), (each.reconstruction, 0.1)):
            found |= (density.values_zyx > share * density.values_zyx.max()).any(along)
    spans = []
    for axis, size in enumerate(found.shape):
        rows = np.flatnonzero(found.any(1 - axis))
        first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, size - 1)
        margin = max(2, size // 16)
        spans.append(slice(max(0, first - margin), min(size, last + margin + 1)))
    return spans[0], spans[1]


def _draw_projections(
    axes: Sequence[Axes], comparison: Comparison, values: np.ndarray, along: int, shown: tuple[slice, slice]
) -> None:
    wanted = comparison.density.values_zyx.astype(np.float64).sum(along)[shown]
    given = values.sum(along)[shown]
    up, across = (axis for axis in range(3) if axis != along)  # of the array, z y x
    extent = (*_edges(comparison.density, across, shown[1]), *_edges(comparison.density, up, shown[0]))
    low, high = np.percentile(wanted, 1), wanted.max()
    limit = DIFFERENCE * float(high - low) or 1.0
    look = {"origin": "lower", "extent": extent, "interpolation": "bilinear"}
    for each, image in zip(axes, (wanted, given), strict=False):
        each.imshow(image, cmap="gray_r", vmin=low, vmax=high, **look)
    difference = axes[2].imshow(wanted - given, cmap="RdBu_r", vmin=-limit, vmax=limit, **look)
    for each in axes:
        each.set_xlabel(f"{'zyx'[across]} (Å)", fontsize=8)
        each.tick_params(labelsize=7, labelleft=each is axes[0])
    axes[0].set_ylabel(f"{comparison.label}\n{'zyx'[up]} (Å)", fontsize=9)
    bar = axes[2].figure.colorbar(difference, ax=axes[2], ticks=[-limit, 0, limit], fraction=0.05)
    percent = f"{100 * DIFFERENCE:.0f} %"
    bar.ax.set_yticklabels([f"−{percent}\n(too much)", "0", f"{percent}\n(missing)"], fontsize=7)


def _edges(density: DensityMap, axis: int, shown: slice) -> tuple[float, float]:
    """Angstrom along an array axis (z y x) where the voxels of a slice begin and end."""
    origin, step = density.grid.origin_xyz[2 - axis], density.grid.voxel_size
    return origin + (shown.start - 0.5) * step, origin + (shown.stop - 0.5) * step


def _draw_shells(axes: Axes, comparison: Comparison) -> None:
    axes.set_xlabel("resolution (Å)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(-0.1, 1.05)
    try:
        shells = shell_correlation(comparison.density, comparison.reconstruction)
    except MapError as error:  # a constant map has no shells
        axes.text(0.02, 0.5, fill(str(error).split(";")[0], 48), transform=axes.transAxes, fontsize=8)
        return
    axes.plot(shells.frequency, shells.correlation, color=_CURVE)
    axes.axhline(THRESHOLD, color=_LIMIT, linewidth=0.8, linestyle="--")
    axes.axvline(1 / comparison.resolution, color=_LIMIT, linewidth=0.8, linestyle=":")
    ticks = np.linspace(0, shells.frequency[-1], 6)[1:]
    axes.set_xlim(0, shells.frequency[-1])
    axes.set_xticks(ticks, [f"{1 / tick:.1f}" for tick in ticks])
    reached = shells.resolution(THRESHOLD)
    told = (
        f"NCC {correlation(comparison):.3f}",
        f"{THRESHOLD} at {reached:.1f} Å",
        f"map: {comparison.resolution:.1f} Å",
    )
    axes.text(0.98, 0.99, "\n".join(told), transform=axes.transAxes, ha="right", va="top", fontsize=8)
