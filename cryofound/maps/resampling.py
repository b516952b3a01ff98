"""A map on another grid: rigidly moved by splines, or at another voxel size by cutting its Fourier transform."""

import math

import numpy as np
from scipy import signal
from scipy.ndimage import map_coordinates

from cryofound.errors import MapError
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


def fourier_resample(density: DensityMap, voxel_size: float, tolerance: float = 0.01) -> DensityMap:
    """The map at another voxel size (angstrom) by Fourier cropping or padding; voxel (0, 0, 0) stays where it is.

    The size achieved is in the result's grid. It is a whole fraction p/q of periods, the same along every axis: of all
    fractions within `tolerance` (relative) of the size asked for, the one that needs least padding (by mirroring, cut
    off again) is taken, and of those the nearest. A coarser grid loses all beyond its Nyquist frequency at once, as in
    cryoSPARC's and RELION's downsampling; values are density at a point and are not rescaled. Use `resample` where the
    voxel size must be exact. Raises MapError if fewer than 8 voxels would be left along an axis.
    """
    grid = density.grid
    if voxel_size <= 0:
        raise MapError(f"voxel size {voxel_size:g} A is not positive; give angstroms per voxel")
    if min(grid.shape_zyx) * grid.voxel_size < 8 * voxel_size:
        raise MapError(
            f"a map of {' x '.join(map(str, grid.shape_zyx))} voxels of {grid.voxel_size:g} A would keep fewer than 8 "
            f"at {voxel_size:g} A; choose a smaller voxel size"
        )
    old, new = _ratio(grid.shape_zyx, voxel_size / grid.voxel_size, tolerance)
    values = density.values_zyx
    for axis, size in enumerate(grid.shape_zyx):
        periods = -(-size // old)
        widths = [(0, 0)] * 3
        widths[axis] = (0, periods * old - size)
        padded = np.pad(values, widths, mode="symmetric")
        resampled = np.asarray(signal.resample(padded, periods * new, axis=axis))
        keep = [slice(None)] * 3
        keep[axis] = slice(-(-size * new // old))  # voxels that begin inside the map
        values = resampled[tuple(keep)]
    depth, height, length = values.shape
    achieved = Grid((depth, height, length), grid.voxel_size * old / new, grid.origin_xyz)
    return DensityMap(np.ascontiguousarray(values, dtype=np.float32), achieved)


def _ratio(shape_zyx: tuple[int, int, int], ratio: float, tolerance: float) -> tuple[int, int]:
    """(old, new) voxels that cover the same length, old / new near `ratio`; edges are padded to multiples of old."""
    best: tuple[float, float, int, int] | None = None
    for old in range(1, 2 * max(shape_zyx) + 1):
        new = max(round(old / ratio), 1)
        error = abs(old / new / ratio - 1)
        padded = math.prod(math.ceil(size / old) * old for size in shape_zyx) / math.prod(shape_zyx)
        if error <= tolerance and (best is None or (padded, error) < best[:2]):
            best = padded, error, old, new
    if best is None:
        raise MapError(
            f"no grid comes within {100 * tolerance:g} % of {ratio:g} times the voxel size; allow more or use splines"
        )
    return best[2], best[3]
