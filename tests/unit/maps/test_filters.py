"""Filters against closed forms: Gaussians stay Gaussians, waves lose what they should."""

import numpy as np
import pytest
import torch

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.filters import low_pass, low_pass_cosine, sharpen
from cryofound.physics.density import gaussian_sigma, render_gaussian

GRID = Grid((40, 48, 45), 1.1, (-20.0, -26.0, -22.0))


def gaussian(sigma: float, grid: Grid = GRID) -> DensityMap:
    """One normalised Gaussian (integral 1) off the voxel centres, far from the edges."""
    z, y, x = (
        start + grid.voxel_size * np.arange(size) - centre
        for start, size, centre in zip(grid.origin_xyz[::-1], grid.shape_zyx, (1.3, -0.4, 2.1), strict=True)
    )
    squared = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    values = np.exp(-squared / (2 * sigma**2)) / (2 * np.pi * sigma**2) ** 1.5
    return DensityMap(values.astype(np.float32), grid)


def wave(cycles_zyx: tuple[int, int, int]) -> tuple[DensityMap, float]:
    """A wave that fits the box, and its frequency in 1/angstrom."""
    phase = sum(
        2 * np.pi * cycles * np.arange(size).reshape([-1 if axis == at else 1 for at in range(3)]) / size
        for axis, (cycles, size) in enumerate(zip(cycles_zyx, GRID.shape_zyx, strict=True))
    )
    frequency = np.linalg.norm([c / (n * GRID.voxel_size) for c, n in zip(cycles_zyx, GRID.shape_zyx, strict=True)])
    return DensityMap(np.cos(phase).astype(np.float32), GRID), float(frequency)


@pytest.mark.parametrize("resolution", [4.0, 7.0])
def test_low_pass_adds_the_forward_models_width(resolution: float) -> None:
    expected = gaussian(np.hypot(2.0, gaussian_sigma(resolution)))
    got = low_pass(gaussian(2.0), resolution)
    assert got.values_zyx.dtype == np.float32
    assert got.grid == GRID
    np.testing.assert_allclose(got.values_zyx, expected.values_zyx, atol=1e-5 * expected.values_zyx.max())


def test_low_passing_an_atom_is_rendering_it_at_lower_resolution() -> None:
    def atom(resolution: float) -> DensityMap:
        amplitude = torch.tensor([[resolution**-3]], dtype=torch.float64)  # equal integrals
        position = torch.tensor([[[1.0, -2.0, 0.5]]], dtype=torch.float64)
        return DensityMap(render_gaussian(position, amplitude, GRID, resolution, cutoff=1e-10)[0].numpy(), GRID)

    got = low_pass(atom(6.0), np.sqrt(10.0**2 - 6.0**2)).values_zyx
    np.testing.assert_allclose(got, atom(10.0).values_zyx, atol=1e-4 * got.max())


def test_a_positive_b_factor_blurs_and_its_negative_takes_that_back() -> None:
    b_factor = 60.0
    sharp = gaussian(2.0)
    blurred = sharpen(sharp, b_factor)
    expected = gaussian(np.sqrt(2.0**2 + b_factor / (8 * np.pi**2)))
    np.testing.assert_allclose(blurred.values_zyx, expected.values_zyx, atol=1e-5 * expected.values_zyx.max())
    np.testing.assert_allclose(
        sharpen(blurred, -b_factor).values_zyx, sharp.values_zyx, atol=1e-4 * sharp.values_zyx.max()
    )


@pytest.mark.parametrize("cycles", [(3, 0, 0), (0, 5, 2), (2, -4, 9), (11, 7, 1)])
def test_the_cosine_edge_is_one_then_half_then_nothing(cycles) -> None:
    density, frequency = wave(cycles)
    width = 0.04
    for shift, gain in (
        (-0.021, 0.0),
        (-0.01, 0.5 - np.sqrt(2) / 4),
        (0.0, 0.5),
        (0.01, 0.5 + np.sqrt(2) / 4),
        (0.021, 1.0),
    ):
        got = low_pass_cosine(density, 1 / (frequency + shift), edge_width=width).values_zyx
        np.testing.assert_allclose(got, gain * density.values_zyx, atol=2e-6)
    np.testing.assert_allclose(low_pass(density, 1 / frequency).values_zyx, np.exp(-1) * density.values_zyx, atol=2e-6)


def test_the_mean_and_the_argument_stay() -> None:
    density = DensityMap(np.random.default_rng(0).normal(3, 1, GRID.shape_zyx).astype(np.float32), GRID)
    before = density.values_zyx.copy()
    for got in (low_pass(density, 8.0), low_pass_cosine(density, 8.0), sharpen(density, -20.0)):
        assert got.values_zyx.mean() == pytest.approx(before.mean(), rel=1e-5)
    np.testing.assert_array_equal(density.values_zyx, before)


def test_refusals() -> None:
    for call in (lambda: low_pass(gaussian(2.0), 0.0), lambda: low_pass_cosine(gaussian(2.0), -3.0)):
        with pytest.raises(MapError, match="is not positive"):
            call()
