"""What the maps of a series have in common, and each map read once: checksum, spread, middle sections."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofound.errors import MapError
from cryofound.manifest import file_sha256
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.header import read_header
from cryofound.maps.mrc import read_map
from cryofound.maps.statistics import central_slices

PICTURE_EDGE = 128
VOXEL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class MapSurvey:
    """One map: its values' range and sd, and the sections across z, y and x as pictures (row, column) float32."""

    path: Path
    sha256: str
    minimum: float
    maximum: float
    sd: float
    slices: tuple[np.ndarray, np.ndarray, np.ndarray]


def common_grid(paths: Sequence[Path]) -> Grid:
    """The grid that all maps share, told by their headers alone; raises MapError naming the two that differ."""
    first = read_header(paths[0]).grid
    for path in paths[1:]:
        told = grid_difference(first, read_header(path).grid)
        if told:
            raise MapError(
                f"{path}: {told} of {paths[0].name}; write all maps of a series on one grid, or add them one by one"
            )
    return first


def grid_difference(first: Grid, second: Grid) -> str | None:
    """In what `second` differs from `first`, None if they are one grid to a thousandth of a voxel."""
    step = first.voxel_size
    if second.shape_zyx != first.shape_zyx:
        return f"box {_times(second.shape_zyx)} voxels (z, y, x), not the {_times(first.shape_zyx)}"
    if abs(second.voxel_size - step) > VOXEL_TOLERANCE * step:
        return f"voxel size {second.voxel_size:.4g} A, not the {step:.4g}"
    if np.abs(np.subtract(second.origin_xyz, first.origin_xyz)).max() > 0.01 * step:
        found, wanted = (", ".join(f"{value:.2f}" for value in grid.origin_xyz) for grid in (second, first))
        return f"origin {found} A, not the {wanted}"
    return None


def survey(path: Path) -> tuple[MapSurvey, DensityMap]:
    """Read one map; raises MapError for NaN and for a map that is the same everywhere."""
    density = read_map(path)
    values = density.values_zyx
    low, high, sd = float(values.min()), float(values.max()), float(values.std(dtype=np.float64))
    if low == high:
        raise MapError(f"{path}: every value is {low:g}; this is no density, write the map again")
    z, y, x = (_thinned(section) for section in central_slices(density))
    return MapSurvey(path, file_sha256(path), low, high, sd, (z, y, x)), density


def _thinned(section: np.ndarray) -> np.ndarray:
    """A copy of no more than PICTURE_EDGE pixels an edge, so that the map itself can be let go."""
    step = -(-max(section.shape) // PICTURE_EDGE)
    return np.array(section[::step, ::step])


def _times(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
