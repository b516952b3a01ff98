"""Levels of maps with known distributions."""

import numpy as np
import pytest

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.statistics import central_slices, noise, normalised, radial_average

GRID = Grid((32, 40, 36), 1.2, (-10.0, 3.0, 7.0))
BALL = np.zeros(GRID.shape_zyx, dtype=bool)
BALL[10:20, 12:26, 10:24] = True


def noisy(outliers: int = 0) -> DensityMap:
    rng = np.random.default_rng(0)
    values = rng.normal(0.2, 0.05, GRID.shape_zyx)
    values[BALL] = rng.normal(3.0, 0.7, BALL.sum())
    values[0].flat[:outliers] = 100.0
    return DensityMap(values.astype(np.float32), GRID)


def test_noise_is_what_lies_outside_the_mask() -> None:
    found = noise(noisy(), BALL)
    assert found.voxels == (~BALL).sum()
    assert (found.mean, found.sd, found.robust_sd) == pytest.approx((0.2, 0.05, 0.05), rel=0.02)
    spoilt = noise(noisy(outliers=200), BALL)
    assert spoilt.sd > 1
    assert spoilt.robust_sd == pytest.approx(0.05, rel=0.03)
    with pytest.raises(MapError, match="covers the whole map"):
        noise(noisy(), np.ones(GRID.shape_zyx))


def test_normalisation_looks_within_the_mask_and_changes_all() -> None:
    density = noisy()
    scaled, mean, sd = normalised(density, BALL)
    assert (mean, sd) == pytest.approx((3.0, 0.7), rel=0.03)
    within = scaled.values_zyx[BALL].astype(float)
    assert (within.mean(), within.std()) == pytest.approx((0, 1), abs=1e-5)
    np.testing.assert_allclose(scaled.values_zyx * sd + mean, density.values_zyx, atol=1e-5)
    assert scaled.values_zyx.dtype == np.float32
    with pytest.raises(MapError, match=r"the map is constant \(1\) in the mask of 1960 voxels"):
        normalised(DensityMap(np.ones(GRID.shape_zyx, dtype=np.float32), GRID), BALL)
    with pytest.raises(MapError, match="the mask is empty"):
        normalised(density, np.zeros_like(BALL))


def test_the_radial_average_of_a_radial_function_is_that_function() -> None:
    centre = (8.0, 25.0, 26.0)
    z, y, x = (
        start + 1.2 * np.arange(size) - middle
        for start, size, middle in zip(GRID.origin_xyz[::-1], GRID.shape_zyx, centre[::-1], strict=True)
    )
    distance = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    radius, mean = radial_average(DensityMap((5 - 0.1 * distance).astype(np.float32), GRID), centre)
    # A shell's mean radius is within half a voxel of its nominal one; far shells, of many voxels, are met closely.
    np.testing.assert_allclose(mean, 5 - 0.1 * radius, atol=0.06)
    np.testing.assert_allclose(mean[5:15], (5 - 0.1 * radius)[5:15], atol=0.008)
    assert np.diff(radius) == pytest.approx(1.2)


def test_central_slices_are_the_middle_sections() -> None:
    density = noisy()
    z, y, x = central_slices(density)
    np.testing.assert_array_equal(z, density.values_zyx[16])
    np.testing.assert_array_equal(y, density.values_zyx[:, 20])
    np.testing.assert_array_equal(x, density.values_zyx[:, :, 18])
