"""Resampling against the density rendered where the map should be."""

import numpy as np
import pytest
import torch

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.resampling import fourier_resample, resample
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


def band_limited(grid: Grid, period: np.ndarray, highest: int) -> np.ndarray:
    """A sum of waves that fit a box with edges `period` (x, y, z; angstrom), none with more than `highest` cycles."""
    rng = np.random.default_rng(5)
    z, y, x = (
        start + grid.voxel_size * np.arange(size)
        for start, size in zip(grid.origin_xyz[::-1], grid.shape_zyx, strict=True)
    )
    values = np.zeros(grid.shape_zyx)
    for _ in range(12):
        a, b, c = rng.integers(-highest, highest + 1, 3) / period
        phase = rng.uniform(0, 2 * np.pi)
        values += rng.normal() * np.cos(2 * np.pi * (a * x + b * y[:, None] + c * z[:, None, None]) + phase)
    return values


@pytest.mark.parametrize(
    ("shape", "target"), [((48, 48, 48), 1.6), ((48, 48, 48), 0.7), ((48, 72, 24), 1.2), ((45, 45, 45), 1.5)]
)
def test_fourier_resampling_is_exact_for_what_both_grids_can_hold(shape: tuple[int, int, int], target: float) -> None:
    grid = Grid(shape, 1.0, (-7.0, 3.0, 11.0))
    period = np.array(shape[::-1], dtype=float)
    density = DensityMap(band_limited(grid, period, highest=7).astype(np.float32), grid)
    got = fourier_resample(density, target)
    assert got.grid.voxel_size == pytest.approx(target, rel=0.01)
    assert got.grid.origin_xyz == grid.origin_xyz
    # As many voxels as cover the map, and no more.
    for size, old in zip(got.grid.shape_zyx, shape, strict=True):
        assert size * got.grid.voxel_size == pytest.approx(old)
    np.testing.assert_allclose(got.values_zyx, band_limited(got.grid, period, highest=7), atol=2e-5)


def test_a_map_of_unlike_edges_gets_one_voxel_size_near_the_one_asked_for() -> None:
    atoms = torch.tensor(ATOMS)[None]
    ones = torch.ones(1, 40, dtype=torch.float64)
    grid = Grid((61, 53, 58), 1.05, (-32.0, -28.0, -30.0))
    got = fourier_resample(DensityMap(render_gaussian(atoms, ones, grid, 12.0)[0].numpy(), grid), 2.5)
    assert got.grid.voxel_size == pytest.approx(2.5, rel=0.01)
    for size, old in zip(got.grid.shape_zyx, grid.shape_zyx, strict=True):
        assert 0 <= size * got.grid.voxel_size - old * 1.05 < got.grid.voxel_size
    expected = render_gaussian(atoms, ones, got.grid, 12.0)[0].numpy()
    assert np.abs(got.values_zyx - expected).max() < 2e-3 * expected.max()


def test_cropping_removes_what_the_coarser_grid_cannot_hold() -> None:
    grid = Grid((40, 40, 40), 1.0, (0.0, 0.0, 0.0))
    fine = np.cos(2 * np.pi * 15 * np.arange(40) / 40)  # 15 cycles: beyond the Nyquist frequency of 20 voxels
    values = np.broadcast_to(fine, grid.shape_zyx).astype(np.float32) + np.float32(2)
    np.testing.assert_allclose(fourier_resample(DensityMap(values, grid), 2.0).values_zyx, 2.0, atol=1e-5)


def test_voxel_sizes_that_cannot_be_had() -> None:
    density = DensityMap(np.ones((16, 16, 16), dtype=np.float32), Grid((16, 16, 16), 1.0, (0.0, 0.0, 0.0)))
    with pytest.raises(MapError, match=r"16 x 16 x 16 voxels of 1 A would keep fewer than 8 at 2.5 A"):
        fourier_resample(density, 2.5)
    with pytest.raises(MapError, match="is not positive"):
        fourier_resample(density, 0.0)
    with pytest.raises(MapError, match=r"no grid comes within 1e-07 % of 1.41421 times"):
        fourier_resample(density, float(np.sqrt(2)), tolerance=1e-9)
