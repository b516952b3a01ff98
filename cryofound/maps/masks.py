"""Masks: near a model, above a level, without dust, with soft edges."""

import math

import numba
import numpy as np
from scipy.ndimage import find_objects, label

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid


def zone_mask(grid: Grid, positions_xyz: np.ndarray, radius: float) -> np.ndarray:
    """(z, y, x) bool: voxels whose centre lies within `radius` angstrom of a position (atom, 3).

    Exact, atoms outside the map included; time grows with the voxels about the atoms, memory is the mask's alone.
    Raises MapError if no voxel is that near.
    """
    mask = np.zeros(grid.shape_zyx, dtype=bool)
    _mark_balls(mask, np.ascontiguousarray(voxels_zyx(grid, positions_xyz)), radius / grid.voxel_size)
    if not mask.any():
        raise MapError(
            f"no voxel lies within {radius:g} A of the model's {len(positions_xyz)} atoms; the map spans {span(grid)}; "
            "dock the model first"
        )
    return mask


@numba.njit(nogil=True, cache=True)
def _mark_balls(mask: np.ndarray, centres_zyx: np.ndarray, reach: float) -> None:
    """Set the voxels within `reach` voxels of any centre (atom, 3)."""
    depth, height, length = mask.shape
    for atom in range(len(centres_zyx)):
        z, y, x = centres_zyx[atom]
        for k in range(max(0, math.ceil(z - reach)), min(depth - 1, math.floor(z + reach)) + 1):
            for j in range(max(0, math.ceil(y - reach)), min(height - 1, math.floor(y + reach)) + 1):
                room = reach**2 - (k - z) ** 2 - (j - y) ** 2
                if room < 0:
                    continue
                half = math.sqrt(room)
                for i in range(max(0, math.ceil(x - half)), min(length - 1, math.floor(x + half)) + 1):
                    mask[k, j, i] = True


def level_mask(density: DensityMap, level: float) -> np.ndarray:
    """(z, y, x) bool: voxels above the level; raises MapError if there is none."""
    mask = density.values_zyx > level
    if not mask.any():
        raise MapError(f"no voxel is above {level:g}; the map's largest value is {density.values_zyx.max():.4g}")
    return mask


def remove_dust(mask: np.ndarray, extent: float) -> tuple[np.ndarray, int]:
    """The mask (z, y, x) without connected parts that extend no more than `extent` voxels, and how many went.

    A part's size is the longest edge of its bounding box, as for ChimeraX's `surface dust` (metric size), which gives
    it in angstrom: extent = size / voxel size. Parts touch by faces. Raises MapError if nothing remains.
    """
    parts = np.empty(mask.shape, dtype=np.int32)
    label(mask, output=parts)
    count = int(parts.max())
    small = np.zeros(count + 1, dtype=bool)
    for number, box in enumerate(find_objects(parts), start=1):
        small[number] = max(side.stop - side.start for side in box) <= extent
    if count == small.sum():
        raise MapError(f"all {count} connected parts extend no more than {extent:g} voxels; lower the size of dust")
    return mask & ~small[parts], int(small.sum())


def soft_mask(mask: np.ndarray, voxel_size: float, edge: float, extend: float = 0.0) -> np.ndarray:
    """(z, y, x) float32: one within `extend` angstrom of the mask, falling to zero by half a cosine over `edge` more.

    Distances are between voxel centres. Raises MapError for an empty mask.
    """
    soft = np.zeros(mask.shape, dtype=np.float32)
    reach = math.ceil((edge + extend) / voxel_size)
    box = _bounds(mask, reach)
    distance = voxel_size * np.sqrt(_squared_distance(mask[box], reach), dtype=np.float32) - np.float32(extend)
    soft[box] = distance <= 0 if edge <= 0 else 0.5 * (1 + np.cos(np.pi * np.clip(distance / edge, 0, 1)))
    return soft


def _squared_distance(mask: np.ndarray, reach: int) -> np.ndarray:
    """(z, y, x) int32: squared distance in voxels to the mask, exact up to `reach` and larger than its square beyond.

    One axis after the other, since squares add. For the few voxels of an edge this takes half the time and a third of
    the memory of scipy's transform over all distances, which holds 4 GB at 512^3.
    """
    squared = np.where(mask, 0, (reach + 1) ** 2).astype(np.int32)
    for axis in range(3):
        before = np.moveaxis(squared.copy(), axis, 0)
        nearest = np.moveaxis(squared, axis, 0)
        for step in range(1, min(reach, len(before) - 1) + 1):
            np.minimum(nearest[step:], before[:-step] + step**2, out=nearest[step:])
            np.minimum(nearest[:-step], before[step:] + step**2, out=nearest[:-step])
    return squared


def masked(density: DensityMap, mask: np.ndarray) -> DensityMap:
    """The map times a mask (z, y, x), bool or from 0 to 1; raises MapError if their shapes differ."""
    same_shape(density, mask)
    return DensityMap((density.values_zyx * mask).astype(np.float32, copy=False), density.grid)


def same_shape(density: DensityMap, mask: np.ndarray) -> None:
    """Raises MapError unless the mask has the map's shape and is not empty."""
    if mask.shape != density.grid.shape_zyx:
        raise MapError(
            f"a mask of {mask.shape} voxels does not fit a map of {density.grid.shape_zyx}; resample it first"
        )
    if not mask.any():
        raise MapError("the mask is empty; lower its level or widen its radius")


def voxels_zyx(grid: Grid, positions_xyz: np.ndarray) -> np.ndarray:
    """Positions (..., 3) in angstrom as float64 voxel coordinates (z, y, x) of the grid."""
    return ((np.asarray(positions_xyz, dtype=np.float64) - grid.origin_xyz) / grid.voxel_size)[..., ::-1]


def span(grid: Grid) -> str:
    """Where a grid lies, for a message: its first and last voxel along x, y and z."""
    ends = (
        f"{axis} {start:.1f} to {start + (size - 1) * grid.voxel_size:.1f}"
        for axis, start, size in zip("xyz", grid.origin_xyz, grid.shape_zyx[::-1], strict=True)
    )
    return ", ".join(ends) + " A"


def _bounds(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    """The bounding box of a mask, `margin` voxels wider, within the array."""
    box = bounding_box(mask)
    return tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip(box, mask.shape, strict=True)
    )


def bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box (z, y, x) that holds a mask; raises MapError for an empty one."""
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if len(filled) == 0:
            raise MapError("the mask is empty; lower its level or widen its radius")
        sides.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return sides[0], sides[1], sides[2]
