"""The local correlation by Fourier transforms is Pearson's, computed plainly at the place that it names."""

import numpy as np

from cryofound.maps.density_map import DensityMap, Grid
from cryofound.reference.docking_search import MASK_LEVEL, local_correlation
from cryofound.reference.rigid_fit import draw
from cryofound.reference.rotations import spread_rotations

STEP, RESOLUTION = 3.0, 8.0
GRID = Grid((14, 18, 16), STEP, (5.0, -20.0, 11.0))
POINTS = np.random.default_rng(0).normal(size=(40, 3)) * [9, 6, 3]
WEIGHTS = np.random.default_rng(1).uniform(20, 80, 40)


def test_the_score_is_pearsons_within_the_mask_of_the_model() -> None:
    rotations = spread_rotations(6)
    # a full map: no place is so flat that the floor of the variance would count
    values = np.random.default_rng(2).standard_normal(GRID.shape_zyx).astype(np.float32)
    values += draw(POINTS @ rotations[3].T + [26, 4, 32], WEIGHTS, GRID, RESOLUTION) / 3
    scores, centres = local_correlation(POINTS, WEIGHTS, DensityMap(values, GRID), RESOLUTION, rotations)
    margin = 16
    padded = np.pad(values, margin)
    depth, height, length = padded.shape
    x, y, z = (start - margin * STEP for start in GRID.origin_xyz)
    wide = Grid((depth, height, length), STEP, (x, y, z))
    highest = max(draw(POINTS @ turn.T, WEIGHTS, Grid.centred(31, STEP), RESOLUTION).max() for turn in rotations)
    for score, centre, rotation in zip(scores, centres, rotations, strict=True):
        drawn = draw(POINTS @ rotation.T + centre, WEIGHTS, wide, RESOLUTION)
        mask = drawn > MASK_LEVEL * highest
        assert abs(score - np.corrcoef(drawn[mask], padded[mask])[0, 1]) < 2e-3


def test_the_right_rotation_at_the_right_voxel_wins_beside_something_much_denser() -> None:
    rotations = spread_rotations(60)
    grid = Grid((18, 18, 40), STEP, (5.0, -20.0, 11.0))
    centre = np.array(grid.origin_xyz) + STEP * np.array([12, 9, 9])
    values = draw(POINTS @ rotations[17].T + centre, WEIGHTS, grid, RESOLUTION)
    values[..., -8:] += 4 * values.max()  # where a plain correlation would run to
    scores, centres = local_correlation(POINTS, WEIGHTS, DensityMap(values, grid), RESOLUTION, rotations)
    assert scores.argmax() == 17
    np.testing.assert_allclose(centres[17], centre)
