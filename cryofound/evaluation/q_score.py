"""Q-score: how alike the density about each atom is to that of a well-resolved one."""

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from cryofound.maps.density_map import DensityMap
from cryofound.maps.masks import voxels_zyx

SIGMA = 0.6  # angstrom: the width of an atom at 1.3 A resolution
RADII = 0.1 * np.arange(21)  # angstrom
FEWEST = 8  # points on each shell that are not another atom's
TRIES = (8, 16, 32, 64)  # points to choose them from
OTHERS = 0.9  # a point belongs to another atom that is nearer than this times the radius


def q_scores(density: DensityMap, positions_xyz: np.ndarray) -> np.ndarray:
    """(atom,) float64 in -1 to 1: correlation, about the means, of the map with a Gaussian on shells about each atom.

    positions_xyz (atom, 3) angstrom, all heavy atoms of one conformation, as they take each other's points away. Shells
    weigh alike, whatever number of points they have left; 0 where the map is flat. Source: Pintilie et al. 2020,
    doi:10.1038/s41592-020-0731-1; the Gaussian's height and offset there cancel in the correlation.
    """
    tree = KDTree(positions_xyz)
    weights, means, squares = (np.zeros((len(RADII), len(positions_xyz))) for _ in range(3))
    for shell, radius in enumerate(RADII):
        left = np.arange(len(positions_xyz))
        for number in TRIES if radius else (1,):
            points = positions_xyz[left, None] + radius * sphere(number)
            taken = np.isfinite(tree.query(points, distance_upper_bound=OTHERS * radius)[0]) if radius else False
            weight = np.broadcast_to(~np.asarray(taken), points.shape[:2]).astype(np.float64)
            free = weight.sum(axis=1)
            values = map_coordinates(
                density.values_zyx, np.moveaxis(voxels_zyx(density.grid, points), -1, 0), order=1, mode="nearest"
            ).astype(np.float64)
            share = weight / np.maximum(free, 1)[:, None]
            weights[shell, left] = free > 0
            means[shell, left] = (share * values).sum(axis=1)
            squares[shell, left] = (share * values**2).sum(axis=1)
            left = left[free < min(FEWEST, number)]
            if not len(left):
                break
    weights /= weights.sum(axis=0)
    gaussian = np.exp(-0.5 * (RADII / SIGMA) ** 2)[:, None]
    about = gaussian - (weights * gaussian).sum(axis=0)
    mean = (weights * means).sum(axis=0)
    square = (weights * squares).sum(axis=0)
    spread = square - mean**2
    covariance = (weights * about * means).sum(axis=0)
    varies = spread > 1e-10 * square  # less is the rounding of float32
    scale = np.sqrt((weights * about**2).sum(axis=0) * np.where(varies, spread, 1.0))
    return np.where(varies, covariance / scale, 0.0)


def sphere(number: int) -> np.ndarray:
    """(point, 3): points that share the unit sphere evenly (Saff & Kuijlaars 1997, doi:10.1007/BF03024331)."""
    row = np.arange(number) + 0.5
    height = 1 - 2 * row / number
    turn = np.pi * (1 + np.sqrt(5)) * row
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)
