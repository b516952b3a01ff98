"""Resampling against the density rendered where the map should be."""

import numpy as np
import pytest
import torch

from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.resampling import resample
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.physics.density import render_gaussian
from tests.made_proteins import random_rotation

ATOMS = np.random.default_rng(0).normal(scale=5, size=(40, 3))


def rendered(positions: np.ndarray, grid: Grid) -> np.ndarray:
    return render_gaussian(torch.tensor(positions)[None], torch.full((1, 40), 6.0, dtype=torch.float64), grid, 8.0)[
        0
    ].numpy()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_moved_map_is_the_map_of_the_moved_atoms(seed: int) -> None:
    there = Grid((44, 48, 52), 1.3, (-30.0, -34.0, -36.0))
    motion = RigidTransform(random_rotation(seed), np.array([3.0, -2.0, 4.0]))
    grid = Grid.centred(32, 2.0)
    moved = resample(DensityMap(rendered(ATOMS, there), there), grid, motion)
    expected = rendered(motion.apply(ATOMS), grid)
    assert np.abs(moved - expected).max() < 5e-3 * expected.max()


def test_the_same_grid_gives_the_same_map_and_outside_is_zero() -> None:
    grid = Grid.centred(16, 2.0)
    values = np.random.default_rng(1).normal(size=(16, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(resample(DensityMap(values, grid), grid, RigidTransform.identity()), values, atol=1e-5)
    away = RigidTransform(np.eye(3), np.array([100.0, 0.0, 0.0]))
    assert not resample(DensityMap(values, grid), grid, away).any()
