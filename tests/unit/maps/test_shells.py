"""Fourier shells against a plain sum over the full transform, and maps whose correlation is known."""

import numpy as np
import pytest

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.filters import low_pass
from cryofound.maps.masks import soft_mask
from cryofound.maps.shells import ShellCorrelation, half_map_resolution, radial_amplitude, shell_correlation


def white(seed: int, shape: tuple[int, int, int] = (48, 48, 48), voxel_size: float = 1.5) -> DensityMap:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return DensityMap(values, Grid(shape, voxel_size, (0.0, 0.0, 0.0)))


def plus(first: DensityMap, second: DensityMap, factor: float = 1.0) -> DensityMap:
    return DensityMap(first.values_zyx + np.float32(factor) * second.values_zyx, first.grid)


@pytest.mark.parametrize("shape", [(24, 24, 24), (21, 21, 21), (16, 27, 20)])
def test_correlation_is_the_plain_sum_over_the_full_transform(shape) -> None:
    first, second = white(1, shape), plus(white(1, shape), white(2, shape))
    curve = shell_correlation(first, second)
    a, b = (np.fft.fftn(density.values_zyx.astype(np.float64)) for density in (first, second))
    z, y, x = np.meshgrid(*(np.fft.fftfreq(size, 1.5) for size in shape), indexing="ij")
    shell = np.rint(np.sqrt(x**2 + y**2 + z**2) * max(shape) * 1.5).astype(int)
    assert len(curve.frequency) == max(shape) // 2
    for number, (frequency, correlation, count) in enumerate(
        zip(curve.frequency, curve.correlation, curve.count, strict=True), start=1
    ):
        held = shell == number
        expected = (a[held] * b[held].conj()).sum().real / np.sqrt(
            (np.abs(a[held]) ** 2).sum() * (np.abs(b[held]) ** 2).sum()
        )
        assert frequency == pytest.approx(number / (max(shape) * 1.5))
        assert count == held.sum()
        assert correlation == pytest.approx(expected, abs=1e-5)


def test_known_signal_to_noise_gives_its_correlation() -> None:
    signal = white(0)
    curve = shell_correlation(plus(signal, white(1), 0.5), plus(signal, white(2), 0.5))
    expected = 1 / (1 + 0.25)  # S / (S + N)
    assert np.abs(curve.correlation - expected).max() < 4 / np.sqrt(curve.count / 2).min()
    assert np.average(curve.correlation, weights=curve.count) == pytest.approx(expected, abs=0.005)
    np.testing.assert_allclose(shell_correlation(signal, signal).correlation, 1, atol=1e-6)


def test_scale_and_isotropic_filters_do_not_change_it_and_sign_does() -> None:
    first, second = white(0), plus(white(0), white(1))
    plain = shell_correlation(first, second).correlation
    filtered = shell_correlation(low_pass(first, 3.0), second).correlation
    # Within a shell the filter varies, so weights shift a little.
    np.testing.assert_allclose(filtered, plain, atol=0.02)
    negative = DensityMap(-3 * second.values_zyx, second.grid)
    np.testing.assert_allclose(shell_correlation(first, negative).correlation, -plain, atol=1e-6)


def test_resolution_is_where_a_straight_line_crosses() -> None:
    frequency = np.array([0.1, 0.2, 0.3, 0.4])
    curve = ShellCorrelation(frequency, np.array([1.0, 0.543, 0.043, 0.5]), np.ones(4))
    assert curve.resolution() == pytest.approx(1 / 0.28)
    assert curve.resolution(0.5) == pytest.approx(1 / (0.2 + 0.1 * 0.043 / 0.5))
    assert curve.resolution(0.01) == pytest.approx(2.5)  # never below: the last shell
    assert ShellCorrelation(frequency, np.zeros(4), np.ones(4)).resolution() == pytest.approx(10.0)


def ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    z, y, x = np.indices(shape)
    return (z - shape[0] / 2) ** 2 + (y - shape[1] / 2) ** 2 + (x - shape[2] / 2) ** 2 <= radius**2


def test_a_mask_adds_correlation_of_its_own_and_randomised_phases_take_it_away() -> None:
    """Two maps that share nothing beyond 5 A, seen through a narrow mask."""
    shape = (64, 64, 64)
    mask = soft_mask(ball(shape, 13.0), 1.5, edge=3.0)
    window = np.exp(-0.5 * ((np.arange(64) - 32) / 6) ** 2)  # smooth, so that it adds no high frequencies
    shared = low_pass(white(0, shape), 12.0)
    envelope = 30 * window[:, None, None] * window[:, None] * window
    shared = DensityMap((envelope * shared.values_zyx).astype(np.float32), shared.grid)
    halves = [plus(shared, white(seed, shape)) for seed in (1, 2)]
    found = half_map_resolution(*halves, mask)
    assert found.masked is not None
    assert found.corrected is not None
    assert found.resolution == found.corrected.resolution()
    # Within the mask there is less noise to the same signal: the correlation of what is shared rises, and stays risen.
    low = found.unmasked.frequency < 0.12
    assert (found.corrected.correlation[low] > found.unmasked.correlation[low]).all()
    np.testing.assert_allclose(found.corrected.correlation[low], found.masked.correlation[low], atol=0.02)
    assert 5.0 < found.resolution < 7.0
    # Nothing is shared at all far beyond, and there the corrected curve is level at zero.
    beyond = found.unmasked.frequency > 0.2
    assert np.abs(found.corrected.correlation[beyond]).mean() < 0.06
    again = half_map_resolution(*halves, mask)
    np.testing.assert_array_equal(again.corrected.correlation, found.corrected.correlation)  # type: ignore[union-attr]  # there is a mask
    assert half_map_resolution(*halves).masked is None


def test_noise_alone_has_no_resolution_however_sharp_the_mask() -> None:
    """A mask with a hard edge and a constant below it: the masked curve says 0.143, the corrected one does not."""
    shape = (48, 48, 48)
    mask = ball(shape, 9.0)
    halves = [DensityMap(white(seed, shape).values_zyx + 2, white(seed, shape).grid) for seed in (1, 2)]
    found = half_map_resolution(*halves, mask)
    assert found.masked is not None
    assert found.corrected is not None
    beyond = found.unmasked.frequency > 0.08
    assert np.abs(found.corrected.correlation[beyond].mean()) < 0.5 * found.masked.correlation[beyond].mean()


def test_amplitude_of_white_noise_is_its_standard_deviation() -> None:
    frequency, amplitude = radial_amplitude(DensityMap(3 * white(0).values_zyx, white(0).grid))
    assert frequency[-1] == pytest.approx(1 / 3.0)
    np.testing.assert_allclose(amplitude[5:], 3, rtol=0.05)
    blurred = low_pass(white(0), 6.0)
    frequency, amplitude = radial_amplitude(blurred)
    np.testing.assert_allclose(amplitude[5:16], np.exp(-((6 * frequency[5:16]) ** 2)), rtol=0.1)


def test_maps_that_cannot_be_compared() -> None:
    first = white(0)
    moved = DensityMap(first.values_zyx, Grid((48, 48, 48), 1.5, (1.0, 0.0, 0.0)))
    empty = DensityMap(np.zeros((48, 48, 48), dtype=np.float32), first.grid)
    for other, expected in (
        (
            white(1, (48, 48, 50)),
            r"maps of \(48, 48, 48\) voxels of 1.5 A and \(48, 48, 50\) of 1.5 A cannot be compared",
        ),
        (white(1, voxel_size=1.6), r"of 1.6 A cannot be compared"),
        (moved, "lie apart"),
        (empty, "no signal in Fourier shell 1"),
    ):
        with pytest.raises(MapError, match=expected):
            shell_correlation(first, other)
