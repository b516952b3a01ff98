"""Masks against direct sums over all voxels and closed forms."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.masks import bounding_box, level_mask, masked, remove_dust, soft_mask, zone_mask

GRID = Grid((20, 26, 23), 1.3, (-12.0, 4.0, -30.0))


def centres_xyz(grid: Grid) -> np.ndarray:
    z, y, x = np.indices(grid.shape_zyx)
    return np.array(grid.origin_xyz) + grid.voxel_size * np.stack([x, y, z], axis=-1)


@pytest.mark.parametrize("radius", [0.9, 3.0, 5.0])
def test_a_zone_is_every_voxel_that_near_to_an_atom(radius: float) -> None:
    rng = np.random.default_rng(3)
    middle = centres_xyz(GRID).reshape(-1, 3).mean(axis=0)
    atoms = rng.normal(middle, 9.0, size=(60, 3))  # some lie outside the map
    distance = cdist(centres_xyz(GRID).reshape(-1, 3), atoms).min(axis=1).reshape(GRID.shape_zyx)
    np.testing.assert_array_equal(zone_mask(GRID, atoms, radius), distance <= radius)


def test_an_atom_outside_still_reaches_in_and_one_far_away_is_an_error() -> None:
    edge = np.array([[GRID.origin_xyz[0] - 2.0, *centres_xyz(GRID)[5, 7, 0, 1:]]])
    assert zone_mask(GRID, edge, 2.5).sum() == 5  # the voxel 2.0 A away and its four neighbours at 2.39 A
    with pytest.raises(
        MapError, match=r"no voxel lies within 1.5 A of the model's 1 atoms; the map spans x -12.0 to 16.6, y"
    ):
        zone_mask(GRID, edge, 1.5)


def test_dust_is_judged_by_the_longest_edge_of_its_box() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[2:8, 2:4, 2:4] = True  # 6 long
    mask[12, 5:10, 5] = True  # 5 long, 5 voxels
    mask[15:18, 15:18, 15:18] = True  # 3 long, 27 voxels
    mask[0, 0, 19] = True
    mask[1, 1, 18] = True  # touches the last by a corner only
    for extent, left, parts in ((0.5, 58, 0), (1, 56, 2), (3, 29, 3), (4.9, 29, 3), (5, 24, 4)):
        kept, removed = remove_dust(mask, extent)
        assert (int(kept.sum()), removed) == (left, parts)
        assert not (kept & ~mask).any()
    with pytest.raises(MapError, match="all 5 connected parts extend no more than 6 voxels"):
        remove_dust(mask, 6)


@pytest.mark.parametrize(("edge", "extend"), [(6.0, 0.0), (4.0, 3.0), (0.0, 2.6)])
def test_a_soft_mask_falls_as_half_a_cosine_of_the_distance(edge: float, extend: float) -> None:
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[4:7, 11, 9:12] = True
    mask[19, 0, 22] = True  # in a corner
    soft = soft_mask(mask, GRID.voxel_size, edge, extend)
    points = centres_xyz(GRID)
    beyond = cdist(points.reshape(-1, 3), points[mask]).min(axis=1).reshape(GRID.shape_zyx) - extend
    # Half a cosine: 1 where the edge begins, 1/2 in its middle, 0 where it ends.
    expected = np.where(
        beyond <= 1e-9, 1.0, 0.0 if edge == 0 else np.cos(np.pi / 2 * np.clip(beyond / max(edge, 1), 0, 1)) ** 2
    )
    np.testing.assert_allclose(soft, expected, atol=1e-6)
    assert soft.dtype == np.float32


def test_masking_multiplies_and_checks() -> None:
    density = DensityMap(np.random.default_rng(0).normal(size=GRID.shape_zyx).astype(np.float32), GRID)
    mask = level_mask(density, 1.0)
    np.testing.assert_array_equal(masked(density, mask).values_zyx, np.where(mask, density.values_zyx, 0))
    assert masked(density, mask.astype(float)).values_zyx.dtype == np.float32
    with pytest.raises(MapError, match="no voxel is above 100; the map's largest value is"):
        level_mask(density, 100.0)
    with pytest.raises(MapError, match=r"a mask of \(20, 26, 22\) voxels does not fit a map of \(20, 26, 23\)"):
        masked(density, mask[:, :, 1:])
    for call in (masked, lambda _, empty: soft_mask(empty, 1.0, 3.0), lambda _, empty: bounding_box(empty)):
        with pytest.raises(MapError, match="the mask is empty"):
            call(density, np.zeros(GRID.shape_zyx, dtype=bool))
