"""Levels of a map: noise outside the molecule, normalisation within it, averages over directions, central slices."""

import math
from dataclasses import dataclass

import numpy as np

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.masks import same_shape

MAD_TO_SD = 1.4826  # sd of a normal distribution over its median absolute deviation


@dataclass(frozen=True)
class Noise:
    """`mean` and `sd` of `voxels` values, and the sd that a normal distribution of their median deviation has."""

    mean: float
    sd: float
    robust_sd: float
    voxels: int


def noise(density: DensityMap, mask: np.ndarray) -> Noise:
    """Of the values outside a mask (z, y, x), bool or soft: where it is exactly zero.

    Raises MapError if the mask leaves no voxel.
    """
    same_shape(density, mask)
    values = density.values_zyx[mask == 0]
    if not len(values):
        raise MapError("the mask covers the whole map, so no noise is left to measure; use a tighter mask")
    robust = MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))
    return Noise(*mean_and_sd(values), robust, len(values))


def normalised(density: DensityMap, mask: np.ndarray) -> tuple[DensityMap, float, float]:
    """(map, mean, sd): the map less the mean and over the sd (of the population) of its values where the mask is > 0.

    Raises MapError for an empty mask or one in which the map is constant.
    """
    same_shape(density, mask)
    values = density.values_zyx[mask > 0]
    mean, sd = mean_and_sd(values)
    if not sd > 0:
        raise MapError(f"the map is constant ({mean:g}) in the mask of {len(values)} voxels; use another mask")
    scaled = (density.values_zyx - np.float32(mean)) / np.float32(sd)
    return DensityMap(scaled, density.grid), mean, sd


def mean_and_sd(values: np.ndarray) -> tuple[float, float]:
    """Mean and population sd of all values, summed in float64 without a temporary array as large as the map."""
    mean = float(values.mean(dtype=np.float64))
    chunks = np.array_split(values.reshape(-1), max(values.size // 2**20, 1))
    variance = sum(float(np.square(chunk - mean, dtype=np.float64).sum()) for chunk in chunks) / values.size
    return mean, math.sqrt(variance)


def radial_average(density: DensityMap, centre_xyz: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(radius, mean), each (shell,) float64: the mean over shells about a point, one voxel thick, radius in angstrom.

    Shell k holds the voxels whose distance rounds to k voxels; shells without voxels are left out.
    """
    step = density.grid.voxel_size
    x, y, z = (
        (start - centre + step * np.arange(size)) ** 2
        for start, centre, size in zip(density.grid.origin_xyz, centre_xyz, density.grid.shape_zyx[::-1], strict=True)
    )
    total, count = np.zeros(1), np.zeros(1)
    for section, height in zip(density.values_zyx, z, strict=True):
        shell = np.rint(np.sqrt(height + y[:, None] + x) / step).astype(np.intp).ravel()
        size = max(len(count), int(shell.max()) + 1)
        total = np.pad(total, (0, size - len(total))) + np.bincount(shell, section.ravel(), minlength=size)
        count = np.pad(count, (0, size - len(count))) + np.bincount(shell, minlength=size)
    filled = np.flatnonzero(count)
    return filled * step, total[filled] / count[filled]


def central_slices(density: DensityMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The middle sections across z (y, x), y (z, x) and x (z, y): three float32 arrays, views of the map."""
    z, y, x = (size // 2 for size in density.grid.shape_zyx)
    values = density.values_zyx
    return values[z], values[:, y], values[:, :, x]
