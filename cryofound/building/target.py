"""What a model is fitted to: a map, its resolution, and which of its voxels count."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.masks import zone_mask
from cryofound.maps.resampling import fourier_resample
from cryofound.physics.blurring import blurred
from cryofound.physics.correlation import ncc
from cryofound.physics.density import render_gaussian

SAMPLING = 3.0  # voxels for one resolution are enough to fit by
COARSE_SAMPLING = 4.0  # a few more for what is blurred, of which there is little else
FINEST = 3.6  # a map of more is brought to fewer
BRIDGE = 1.5  # resolutions over which what is held back is bridged
LEAST_WEIGHT = 0.1  # share of known density about a voxel below which a blurred map does not count there


@dataclass(frozen=True)
class Target:
    """density (z, y, x) at a resolution in angstrom; counts (z, y, x) bool: voxels a model is compared at."""

    density: Tensor
    resolution: float
    grid: Grid
    counts: Tensor

    def misfit(self, positions_xyz: Tensor, amplitude: Tensor) -> Tensor:
        """1 - correlation, over the voxels that count, with atoms drawn at the resolution: scalar.

        positions_xyz (atom, 3) angstrom, amplitude (atom,). Differentiable in positions.
        """
        drawn = render_gaussian(positions_xyz[None], amplitude[None], self.grid, self.resolution)
        if self.counts.all():
            return 1 - ncc(drawn, self.density[None])[0]
        place = self.counts.flatten().nonzero()[:, 0]
        pair = (values.flatten()[place].view(1, 1, 1, -1) for values in (drawn, self.density))
        return 1 - ncc(*pair)[0]

    def coarser(self, resolution: float) -> "Target":
        """The same at a coarser resolution; what does not count leaks into nothing (normalised convolution).

        Every second or third voxel is enough where the resolution is so many times the voxel size: atoms are drawn at
        the voxels that are left.
        """
        if resolution <= self.resolution:
            return self
        return self._blurred(resolution)._every(int(resolution / COARSE_SAMPLING / self.grid.voxel_size))

    def _every(self, stride: int) -> "Target":
        """Only every so many voxels along each axis."""
        if stride < 2:
            return self
        density, counts = (each[::stride, ::stride, ::stride].contiguous() for each in (self.density, self.counts))
        depth, height, length = density.shape
        grid = Grid((depth, height, length), stride * self.grid.voxel_size, self.grid.origin_xyz)
        return replace(self, density=density, counts=counts, grid=grid)

    def _blurred(self, resolution: float) -> "Target":
        own, there, voxel = [self.resolution], [resolution], self.grid.voxel_size
        if self.counts.all():
            return replace(self, density=blurred(self.density[None], own, there, voxel)[0], resolution=resolution)
        known = self.counts.to(self.density.dtype)
        weight = blurred(known[None], own, there, voxel)[0]
        density = blurred((self.density * known)[None], own, there, voxel)[0] / weight.clamp_min(LEAST_WEIGHT)
        return replace(self, density=density, resolution=resolution, counts=self.counts & (weight >= LEAST_WEIGHT))

    def within(self, positions_xyz: np.ndarray, reach: float) -> "Target":
        """Only the voxels within `reach` angstrom of a position (atom, 3) count; raises MapError if there are none."""
        near = torch.from_numpy(zone_mask(self.grid, positions_xyz, reach))
        return replace(self, counts=self.counts & near)

    def without(self, held_back: np.ndarray) -> "Target":
        """Without the voxels (z, y, x) that are held back."""
        return replace(self, counts=self.counts & ~torch.from_numpy(held_back))

    def bridged(self, held_back: np.ndarray) -> "Target":
        """With what lies about them in place of the voxels (z, y, x) held back, by normalised convolution.

        Voxels that merely did not count would be where atoms hide that fit nowhere else.
        """
        known = (self.counts & ~torch.from_numpy(held_back)).to(self.density.dtype)
        width = BRIDGE * self.resolution
        weight, blurry = (
            blurred(each[None], [0.0], [width], self.grid.voxel_size)[0] for each in (known, self.density * known)
        )
        bridge = blurry / weight.clamp_min(LEAST_WEIGHT)
        return replace(self, density=torch.where(torch.from_numpy(held_back), bridge, self.density))


def make_target(density: DensityMap, resolution: float, mask: np.ndarray | None = None) -> Target:
    """The target of a map at its resolution in angstrom; `mask` (z, y, x) above one half says which voxels count.

    A map of many voxels for its resolution is brought to fewer. Raises MapError for a resolution finer than two voxels,
    a flat map, and a mask of another shape or without voxels.
    """
    voxel = density.grid.voxel_size
    if not resolution > 0:
        raise MapError(f"a resolution of {resolution:g} A; give a positive number")
    if resolution < 2 * voxel:
        raise MapError(
            f"a resolution of {resolution:g} A is finer than two voxels of {voxel:g} A; give the map's resolution"
        )
    if not float(density.values_zyx.std()) > 0:
        raise MapError("the map is flat: every voxel has the same value; give another map")
    if mask is not None and mask.shape != density.values_zyx.shape:
        raise MapError(
            f"the mask has {' x '.join(map(str, mask.shape))} voxels, the map "
            f"{' x '.join(map(str, density.values_zyx.shape))}; give a mask on the map's grid"
        )
    inside = None if mask is None else mask > 0.5
    if inside is not None and not inside.any():
        raise MapError("the mask is empty: no voxel is above 0.5; give another mask")
    if resolution > FINEST * voxel:
        coarse = fourier_resample(density, resolution / SAMPLING, tolerance=0.05)
        if inside is not None:
            inside = _at_centres(inside, density.grid, coarse.grid)
        density = coarse
    counts = np.ones(density.values_zyx.shape, dtype=bool) if inside is None else inside
    return Target(
        torch.from_numpy(np.ascontiguousarray(density.values_zyx)), resolution, density.grid, torch.from_numpy(counts)
    )


def held_back_blocks(grid: Grid, edge: float, share: float, seed: int) -> np.ndarray:
    """(z, y, x) bool: voxels of about `share` of all cubes of `edge` angstrom, chosen by chance."""
    size = max(1, round(edge / grid.voxel_size))
    counts = [math.ceil(length / size) for length in grid.shape_zyx]
    chosen = np.random.default_rng(seed).random(counts) < share
    for axis in range(3):
        chosen = chosen.repeat(size, axis=axis)
    depth, height, length = grid.shape_zyx
    return np.ascontiguousarray(chosen[:depth, :height, :length])


def _at_centres(mask: np.ndarray, grid: Grid, other: Grid) -> np.ndarray:
    """The mask (z, y, x) of `grid` at the voxels of another grid with the same origin."""
    rows = [
        np.minimum(np.rint(np.arange(size) * other.voxel_size / grid.voxel_size).astype(int), there - 1)
        for size, there in zip(other.shape_zyx, grid.shape_zyx, strict=True)
    ]
    return mask[np.ix_(*rows)]
