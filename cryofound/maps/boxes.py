"""Boxes cut from a map or padded about it; what stays keeps its place in space."""

import math

import numpy as np

from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.masks import bounding_box, voxels_zyx

Triple = tuple[int, int, int]


def cut_box(density: DensityMap, start_zyx: Triple, shape_zyx: Triple) -> DensityMap:
    """The voxels from `start_zyx` on (may be negative), zero where the map has none; the origin moves with them."""
    values = np.zeros(shape_zyx, dtype=np.float32)
    source, target = [], []
    for start, size, available in zip(start_zyx, shape_zyx, density.grid.shape_zyx, strict=True):
        low, high = min(max(start, 0), available), max(min(start + size, available), 0)
        source.append(slice(low, max(high, low)))
        target.append(slice(low - start, max(high, low) - start) if high > low else slice(0, 0))
    values[tuple(target)] = density.values_zyx[tuple(source)]
    x, y, z = density.grid.origin_xyz
    step = density.grid.voxel_size
    origin = (x + start_zyx[2] * step, y + start_zyx[1] * step, z + start_zyx[0] * step)
    return DensityMap(values, Grid(shape_zyx, step, origin))


def tight_box(mask: np.ndarray, padding: int = 0, multiple: int = 8) -> tuple[Triple, Triple]:
    """(start_zyx, shape_zyx) of the box about a mask, `padding` voxels on each side, edges multiples of `multiple`.

    What has to be added to reach the multiple is split evenly; the box may stick out of the map. Raises MapError for an
    empty mask.
    """
    starts, sizes = [], []
    for side in bounding_box(mask):
        needed = side.stop - side.start + 2 * padding
        size = math.ceil(needed / multiple) * multiple
        starts.append(side.start - padding - (size - needed) // 2)
        sizes.append(size)
    return (starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2])


def box_about(grid: Grid, centre_xyz: tuple[float, float, float], shape_zyx: Triple) -> Triple:
    """start_zyx of a box of `shape_zyx` voxels whose middle is within half a voxel of `centre_xyz` (angstrom)."""
    middle = voxels_zyx(grid, np.array(centre_xyz))
    z, y, x = (
        math.floor(centre - (size - 1) / 2 + 0.5) for centre, size in zip(middle.tolist(), shape_zyx, strict=True)
    )
    return z, y, x
