import numpy as np
import pytest

from cryofound.evaluation.q_score import q_scores, sphere
from cryofound.maps.density_map import DensityMap, Grid

GRID = Grid((33, 35, 37), 0.3, (-5.0, -4.0, -6.0))
ATOM = np.array([[0.3, 0.5, -0.4]])


def gaussians(positions_xyz: np.ndarray, sigma: float) -> np.ndarray:
    """(z, y, x) sum of Gaussians of one height."""
    z, y, x = (
        start + GRID.voxel_size * np.arange(size)
        for start, size in zip(GRID.origin_xyz[::-1], GRID.shape_zyx, strict=True)
    )
    squares = [
        (z[:, None, None] - each[2]) ** 2 + (y[:, None] - each[1]) ** 2 + (x - each[0]) ** 2 for each in positions_xyz
    ]
    return np.sum([np.exp(-0.5 * square / sigma**2) for square in squares], axis=0).astype(np.float32)


def test_an_atom_of_the_expected_width_scores_one_and_a_hole_minus_one():
    density = gaussians(ATOM, 0.6)
    assert q_scores(DensityMap(density, GRID), ATOM)[0] == pytest.approx(1.0, abs=0.005)
    assert q_scores(DensityMap(-density, GRID), ATOM)[0] == pytest.approx(-1.0, abs=0.005)


@pytest.mark.parametrize("sigma", [0.9, 1.5])
def test_a_wider_atom_has_the_closed_form(sigma):
    radii = np.linspace(0, 2, 21)
    expected = np.corrcoef(np.exp(-0.5 * (radii / 0.6) ** 2), np.exp(-0.5 * (radii / sigma) ** 2))[0, 1]
    assert q_scores(DensityMap(gaussians(ATOM, sigma), GRID), ATOM)[0] == pytest.approx(expected, abs=0.005)


def test_scale_and_offset_of_the_map_do_not_matter():
    rng = np.random.default_rng(0)
    atoms = rng.uniform(-2, 2, (12, 3))
    density = gaussians(atoms, 0.7) + 0.2 * rng.standard_normal(GRID.shape_zyx).astype(np.float32)
    scores = q_scores(DensityMap(density, GRID), atoms)
    moved = q_scores(DensityMap(40 * density + 13, GRID), atoms)
    assert np.ptp(scores) > 0.05
    np.testing.assert_allclose(moved, scores, atol=1e-4)


def test_flat_density_scores_nothing():
    assert q_scores(DensityMap(np.full(GRID.shape_zyx, 3.0, np.float32), GRID), ATOM)[0] == 0.0


def test_a_displaced_atom_scores_less_the_further_it_is():
    density = DensityMap(gaussians(ATOM, 0.6), GRID)
    scores = [q_scores(density, ATOM + [shift, 0.0, 0.0])[0] for shift in (0.0, 0.4, 0.8, 1.6)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.5


def test_a_bonded_atom_does_not_lower_the_score_where_it_is_modelled():
    pair = np.concatenate([ATOM, ATOM + [1.5, 0.0, 0.0]])
    density = DensityMap(gaussians(pair, 0.6), GRID)
    assert q_scores(density, pair)[0] > 0.95 > q_scores(density, ATOM)[0]


def test_an_atom_alone_in_another_has_only_the_shells_that_are_its_own():
    same = np.concatenate([ATOM, ATOM])
    assert np.isfinite(q_scores(DensityMap(gaussians(ATOM, 0.6), GRID), same)).all()


def test_points_share_the_sphere_evenly():
    points = sphere(64)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    np.testing.assert_allclose(points.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(points.T @ points / 64, np.eye(3) / 3, atol=0.02)
