"""Maps made small enough for a page: cut to their models, coarser where they must be, eight bits a voxel."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cryofound.maps.boxes import cut_box
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.masks import zone_mask
from cryofound.maps.resampling import fourier_resample

ZONE = 5.0  # angstrom about the model that is kept
MARGIN = 8.0  # angstrom more while the grid is changed, for what happens at the edges
FINEST, COARSEST = 4.0, 2.0  # voxels per resolution
VOLUME_PER_DALTON = 1.21  # cubic angstrom, the usual mean of proteins
ENCLOSED = 0.6  # share of the model's volume within the surface that is shown first: looser ones hide the model
HYDROGENS = 1.07  # mass of a protein over that of its heavy atoms
LEVELS = 255


@dataclass(frozen=True)
class PageDensity:
    """A map as a page holds it: values_zyx uint8 on `grid`, `step` standard deviations of the whole map apart.

    0 is the map's mean or lower, or farther than ZONE from the model. level, in standard deviations above the mean,
    is where the surface holds ENCLOSED of the model's volume; voxel_size is that of the map itself in angstrom.
    """

    values_zyx: np.ndarray
    grid: Grid
    step: float
    level: float
    voxel_size: float

    @cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.values_zyx.tobytes(), mtime=0)


def page_densities(
    maps: Sequence[DensityMap | None],
    positions_xyz: Sequence[np.ndarray],
    resolutions: Sequence[float],
    mass: float,
    budget: int,
) -> list[PageDensity | None]:
    """One for each map; positions_xyz (atom, 3) and `resolutions` in angstrom, mass of the heavy atoms in dalton.

    Grids are as fine as FINEST needs, or the map's own if that is coarser; coarser down to COARSEST where all together
    would take more than `budget` bytes, compressed. Then only the first ones that fit are given, None for the others.
    """
    volume = ENCLOSED * VOLUME_PER_DALTON * HYDROGENS * mass

    def made(fineness: float) -> list[PageDensity | None]:
        return [
            None if density is None else _page_density(density, xyz, resolution / fineness, volume)
            for density, xyz, resolution in zip(maps, positions_xyz, resolutions, strict=True)
        ]

    found = made(FINEST)
    total = sum(len(each.packed) for each in found if each)
    if total > budget:
        had = max(each / there.grid.voxel_size for each, there in zip(resolutions, found, strict=True) if there)
        found = made(max(COARSEST, 0.95 * had * (budget / total) ** (1 / 3)))
    left = budget
    for row, each in enumerate(found):
        left -= len(each.packed) if each else 0
        if left < 0:
            found[row] = None
    return found


def _page_density(density: DensityMap, positions_xyz: np.ndarray, voxel_size: float, volume: float) -> PageDensity:
    mean, deviation = float(density.values_zyx.mean()), float(density.values_zyx.std())
    near = _cut(density, positions_xyz, ZONE + MARGIN)
    coarser = min(voxel_size, min(near.grid.shape_zyx) * near.grid.voxel_size / 8)  # no fewer than 8 voxels an edge
    if coarser > 1.1 * near.grid.voxel_size:
        near = fourier_resample(near, coarser, tolerance=0.05)
    near = _cut(near, positions_xyz, ZONE)
    zone = zone_mask(near.grid, positions_xyz, ZONE)
    above = np.where(zone, (near.values_zyx - mean) / max(deviation, 1e-12), 0.0)
    step = max(float(above.max()), 1e-3) / LEVELS
    values = np.round(above.clip(0) / step).astype(np.uint8)
    held = min(round(volume / near.grid.voxel_size**3), above.size - 1)
    level = float(np.partition(above.ravel(), -held - 1)[-held - 1])
    return PageDensity(values, near.grid, step, min(max(level, step), 0.9 * LEVELS * step), density.grid.voxel_size)


def _cut(density: DensityMap, positions_xyz: np.ndarray, margin: float) -> DensityMap:
    """The box about all voxels within `margin` angstrom of an atom and one more, zero where the map has none."""
    grid = density.grid
    corners = np.array([positions_xyz.min(0) - margin, positions_xyz.max(0) + margin])
    low, high = np.round((corners - grid.origin_xyz) / grid.voxel_size).astype(int)[:, ::-1]
    start, shape = (low - 1).tolist(), (high - low + 3).tolist()
    return cut_box(density, (start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))
