"""A fit ends where the correlation is highest; a map's own zero and resolution do not matter."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.rigid_fit import draw, filtered, fit, solvent_at_zero, window, zone_ncc

RESOLUTION = 5.0
GRID = Grid((30, 34, 32), 1.5, (-24.0, -25.0, -22.0))
POINTS = np.random.default_rng(0).normal(size=(60, 3)) * [8, 5, 3]
WEIGHTS = np.random.default_rng(1).uniform(20, 80, 60)
DENSITY = DensityMap(draw(POINTS, WEIGHTS, GRID, RESOLUTION), GRID)


@pytest.mark.parametrize("seed", range(3))
def test_points_return_to_where_they_were_drawn(seed: int) -> None:
    axis, shift = np.random.default_rng(seed).standard_normal((2, 3))
    turn = Rotation.from_rotvec(0.3 * axis / np.linalg.norm(axis)).as_matrix()
    away = RigidTransform(turn, 2 * shift / np.linalg.norm(shift) + [40, 0, 0])
    start = RigidTransform(np.eye(3), np.array([-40.0, 0, 0]))
    found, score = fit(away.apply(POINTS), WEIGHTS, DENSITY, RESOLUTION, start)
    np.testing.assert_allclose(found.after(away).apply(POINTS), POINTS, atol=0.02)
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-12)
    assert score == pytest.approx(1, abs=1e-4)


def test_zone_ncc_is_pearsons_near_the_points_and_counts_what_is_outside() -> None:
    noise = np.random.default_rng(2).standard_normal(GRID.shape_zyx).astype(np.float32)
    noisy = DensityMap(DENSITY.values_zyx + 2 * noise, GRID)
    z, y, x = np.meshgrid(*(np.arange(size) for size in GRID.shape_zyx), indexing="ij")
    voxels = np.stack([x, y, z], axis=-1) * GRID.voxel_size + GRID.origin_xyz
    near = (((voxels[..., None, :] - POINTS) ** 2).sum(-1) <= RESOLUTION**2).any(-1)
    plain = np.corrcoef(DENSITY.values_zyx[near], noisy.values_zyx[near])[0, 1]
    assert zone_ncc(POINTS, WEIGHTS, noisy, RESOLUTION) == pytest.approx(plain, abs=1e-5)
    # Half of the map gone: the zone stays, with nothing in it.
    half = DensityMap(noisy.values_zyx[:15], Grid((15, 34, 32), 1.5, GRID.origin_xyz))
    emptied = noisy.values_zyx.copy()
    emptied[15:] = 0
    plain = np.corrcoef(DENSITY.values_zyx[near], emptied[near])[0, 1]
    assert zone_ncc(POINTS, WEIGHTS, half, RESOLUTION) == pytest.approx(plain, abs=1e-5)


def test_a_filtered_map_is_the_points_drawn_at_that_resolution() -> None:
    coarser = filtered(DENSITY, RESOLUTION, 8.0)
    assert coarser.grid.voxel_size == pytest.approx(8 / 3, rel=0.01)
    drawn = draw(POINTS, WEIGHTS, coarser.grid, 8.0)
    assert np.corrcoef(coarser.values_zyx.ravel(), drawn.ravel())[0, 1] > 0.998
    assert filtered(DENSITY, RESOLUTION, RESOLUTION) is DENSITY


def test_solvent_is_zero_whatever_the_level_and_a_constant_map_is_refused() -> None:
    lifted = solvent_at_zero(DensityMap(DENSITY.values_zyx + np.float32(7), GRID))
    np.testing.assert_allclose(lifted.values_zyx, DENSITY.values_zyx, atol=1e-4 * DENSITY.values_zyx.max())
    with pytest.raises(MapError, match="constant"):
        solvent_at_zero(DensityMap(np.zeros(GRID.shape_zyx, np.float32), GRID))


def test_a_window_keeps_its_place_and_is_empty_outside() -> None:
    near = window(DENSITY, POINTS + [30, 0, 0], 3.0)
    drawn = draw(POINTS, WEIGHTS, near.grid, RESOLUTION)
    x = near.grid.origin_xyz[0] + near.grid.voxel_size * np.arange(near.grid.shape_zyx[2])
    inside = x <= GRID.origin_xyz[0] + GRID.voxel_size * (GRID.shape_zyx[2] - 1) + 1e-6
    np.testing.assert_allclose(near.values_zyx[..., inside], drawn[..., inside], atol=0.02 * drawn.max())
    assert not near.values_zyx[..., ~inside].any()
