"""Numbers on periodic grids of torsion angles: MolProbity's grids in, distance to a contour, interpolation.

A percentile is flat zero over most of torsion space; the signed distance to a contour of it tells an outlier which way
home is. Between grid points everything is multilinear, as in MolProbity: continuous and periodic, its gradient constant
along each axis within a cell and stepping at the faces of cells, which gradient descent takes as it comes.
"""

import re
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cryofound.errors import SourceError

BLOCK = 1024  # columns at a time, so that the work stays in the processor's cache
_LEVELS = np.concatenate([[0.0], np.logspace(-5, 0, 251)])


@dataclass(frozen=True)
class TorsionGrid:
    """values, one axis per torsion, each the value at the middle of a bin; the first bin begins at 0 degrees.

    step (axis,) degrees per bin; an axis spans a whole period, 360 degrees or 180 for a torsion with two equal ends.
    """

    values: np.ndarray
    step: tuple[float, ...]


def read_grid(path: Path) -> TorsionGrid:
    """One of MolProbity's `.data` grids, float32; bins that the file leaves out are zero.

    Raises SourceError if the file is missing or is no such grid.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError(f"{path}: missing; `cryofound reference-data fetch` brings MolProbity's reference data")
    try:
        with path.open() as stream:
            header = [line for line in (next(stream, "") for _ in range(16)) if line.startswith("#")]
        axes = [line.split(":")[1].split()[:3] for line in header if re.match(r"#\s+x\d+:", line)]
        lower, upper, bins = (np.array(column, dtype=np.float64) for column in zip(*axes, strict=True))
        rows = np.loadtxt(path, comments="#", ndmin=2)
        step = (upper - lower) / bins
        values = np.zeros(bins.astype(int), dtype=np.float32)
        values[tuple(np.floor((rows[:, :-1] - lower) / step).astype(int).T)] = rows[:, -1]
    except (ValueError, IndexError):
        raise SourceError(f"{path}: not a grid of MolProbity's reference data; fetch it again") from None
    first_bin = np.rint(lower / step).astype(int)
    return TorsionGrid(np.roll(values, first_bin, axis=tuple(range(len(step)))), tuple(step.tolist()))


def contour_distance(grid: TorsionGrid, level: float) -> np.ndarray:
    """Distance in degrees of every grid point from the contour where the interpolated values pass `level`.

    Same shape as the grid, float32, negative where values >= level. Points next to the contour: distance to the plane
    through the crossings on their own grid edges; all others: to the nearest crossing of any grid edge, found axis by
    axis (Felzenszwalb and Huttenlocher 2012, doi:10.4086/toc.2012.v008a019, section 2).
    """
    inside = grid.values >= level
    squared = np.full(grid.values.shape, np.inf, dtype=np.float32)
    plane = np.zeros_like(squared)  # sum of 1 / (distance along an axis)^2
    for axis, step in enumerate(grid.step):
        following = np.roll(grid.values, -1, axis)
        crosses = inside != np.roll(inside, -1, axis)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(crosses, (level - grid.values) / (following - grid.values), np.inf).astype(np.float32)
        before = np.roll(np.where(crosses, 1 - share, np.inf), 1, axis)
        edge = np.minimum(share, before).astype(np.float32) * np.float32(step)
        with np.errstate(divide="ignore"):
            plane += 1 / np.square(edge)
        reached = np.square(_spread(edge, axis, step, power=1))
        for other, other_step in enumerate(grid.step):
            if other != axis:
                reached = _spread(reached, other, other_step, power=2)
        squared = np.minimum(squared, reached)
    with np.errstate(divide="ignore"):
        distance = np.sqrt(np.where(plane > 0, 1 / plane, squared))
    return np.where(inside, -distance, distance)


def pack_percentiles(values: np.ndarray) -> np.ndarray:
    """Percentiles (0 to 1) as uint8: the nearest of 0 and 50 levels a decade from 1e-5 to 1, so within 2.4 %."""
    return np.searchsorted((_LEVELS[1:] + _LEVELS[:-1]) / 2, values).astype(np.uint8)


def unpack_percentiles(code: np.ndarray) -> np.ndarray:
    """Percentiles, float32, from `pack_percentiles`."""
    return _LEVELS[code].astype(np.float32)


@dataclass(frozen=True)
class TorsionTables:
    """Several grids in one array, so that residues of all kinds are looked up at once.

    values (entry,); start (table,) int64 entry of a table's first value; bins, stride (table, axis) int64;
    step (table, axis) degrees. An axis that a table lacks has one bin of infinite width: no angle matters to it.
    """

    values: Tensor
    start: Tensor
    bins: Tensor
    stride: Tensor
    step: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "TorsionTables":
        """The same tables on a device, their numbers in a floating point type."""
        return replace(
            self,
            values=self.values.to(device, dtype),
            start=self.start.to(device),
            bins=self.bins.to(device),
            stride=self.stride.to(device),
            step=self.step.to(device, dtype),
        )


def torsion_tables(grids: list[TorsionGrid]) -> TorsionTables:
    """Grids of one to several axes as one set of tables, float32."""
    n_axes = max(len(grid.step) for grid in grids)
    missing = [n_axes - len(grid.step) for grid in grids]
    bins = [(*grid.values.shape, *[1] * lack) for grid, lack in zip(grids, missing, strict=True)]
    sizes = [grid.values.size for grid in grids]
    return TorsionTables(
        values=torch.from_numpy(np.concatenate([grid.values.ravel() for grid in grids]).astype(np.float32)),
        start=torch.from_numpy(np.cumsum([0, *sizes[:-1]])),
        bins=torch.tensor(bins),
        stride=torch.tensor([np.cumprod((1, *each[:0:-1]))[::-1].tolist() for each in bins]),
        step=torch.tensor([(*grid.step, *[torch.inf] * lack) for grid, lack in zip(grids, missing, strict=True)]),
    )


def interpolate(tables: TorsionTables, kind: Tensor, angles: Tensor) -> Tensor:
    """Multilinear interpolation: table of each row, kind (row,), at angles (batch, row, axis) degrees -> (batch, row).

    Periodic, differentiable in the angles; work and memory O(batch * row).
    """
    position = angles / tables.step[kind] - 0.5  # values lie at the middle of bins
    low = position.floor()
    share = (position - low).unbind(-1)
    lower = (low.long() % tables.bins[kind]).unbind(-1)
    upper = ((low.long() + 1) % tables.bins[kind]).unbind(-1)
    stride = tables.stride[kind].unbind(-1)
    value = torch.zeros_like(share[0])
    for corner in product((False, True), repeat=len(share)):
        entry, weight = tables.start[kind], torch.ones_like(share[0])
        for axis, up in enumerate(corner):
            entry = entry + (upper if up else lower)[axis] * stride[axis]
            weight = weight * (share[axis] if up else 1 - share[axis])
        value = value + weight * tables.values[entry]
    return value


def _spread(cost: np.ndarray, axis: int, step: float, power: int) -> np.ndarray:
    """Least of cost at a point j bins off along a periodic axis + (j * step)^power, over all j."""
    bins = cost.shape[axis]
    lines = np.moveaxis(cost, axis, 0)
    best = lines.reshape(bins, -1).copy()
    for first in range(0, best.shape[1], BLOCK):
        block = best[:, first : first + BLOCK]
        wrapped = np.concatenate([block, block, block])
        for shift in range(1, bins // 2 + 1):
            nearer = np.minimum(wrapped[bins - shift : 2 * bins - shift], wrapped[bins + shift : 2 * bins + shift])
            np.minimum(block, nearer + np.float32((shift * step) ** power), out=block)
    return np.moveaxis(best.reshape(lines.shape), 0, axis)
