"""A density map: values on a grid together with the geometry that places them in space."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """A cubic-voxel grid.

    `shape_zyx` voxels, `voxel_size` angstrom, `origin_xyz` centre of voxel (0, 0, 0) in angstrom.
    """

    shape_zyx: tuple[int, int, int]
    voxel_size: float
    origin_xyz: tuple[float, float, float]

    @classmethod
    def centred(cls, box_size: int, voxel_size: float) -> "Grid":
        """The canonical grid: `box_size` voxels per edge, the middle of the box at the origin."""
        start = -0.5 * (box_size - 1) * voxel_size
        return cls((box_size, box_size, box_size), voxel_size, (start, start, start))


@dataclass(frozen=True)
class DensityMap:
    """`values_zyx` float32 (z, y, x) on `grid`."""

    values_zyx: np.ndarray
    grid: Grid
