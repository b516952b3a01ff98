"""A map on another grid, rigidly moved."""

import numpy as np
from scipy.ndimage import map_coordinates

from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.rigid_transform import RigidTransform


def resample(density: DensityMap, grid: Grid, transform: RigidTransform) -> np.ndarray:
    """(z, y, x) float32: the map moved by `transform` and read on `grid`, by cubic splines; zero outside the map.

    Every value is density at a point, so a change of voxel size does not rescale it. A grid much coarser than the map's
    resolution undersamples it: low-pass the map first.
    """
    x, y, z = (
        start + grid.voxel_size * np.arange(size)
        for start, size in zip(grid.origin_xyz, grid.shape_zyx[::-1], strict=True)
    )
    centres_xyz = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    there = transform.inverse().apply(centres_xyz)
    voxels_zyx = ((there - density.grid.origin_xyz) / density.grid.voxel_size)[..., ::-1]
    moved = map_coordinates(density.values_zyx, np.moveaxis(voxels_zyx, -1, 0), order=3, mode="constant", cval=0.0)
    return moved.astype(np.float32)
