"""Filters in Fourier space: low-pass and B-factor, on a map taken as one period."""

import numpy as np
from scipy import fft

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid


def low_pass(density: DensityMap, resolution: float) -> DensityMap:
    """Amplitudes times exp(-(resolution f)^2): blurred by the Gaussian of sigma = resolution / (sqrt(2) pi).

    `resolution` in angstrom; the Gaussian is that of the forward model (physics.density), so a point becomes the atom
    drawn at that resolution. At f = 1 / resolution, 1/e is left.
    """
    return _times_gaussian(density, _positive(resolution, "resolution") ** 2)


def low_pass_cosine(density: DensityMap, resolution: float, edge_width: float = 0.02) -> DensityMap:
    """Amplitudes kept up to the frequency 1 / resolution, cut off above, over a cosine edge centred on it.

    `resolution` in angstrom, `edge_width` in 1/angstrom from full to nothing. At f = 1 / resolution, one half is left.
    """
    _positive(edge_width, "edge width")
    middle = 1 / _positive(resolution, "resolution")
    spectrum = half_spectrum(density)
    z, y, x = frequencies(density)
    for section, frequency in zip(spectrum, z, strict=True):  # by section, to hold no second spectrum
        beyond = np.sqrt(frequency**2 + y[:, None] ** 2 + x**2) - (middle - edge_width / 2)
        section *= 0.5 * (1 + np.cos(np.pi * np.clip(beyond / edge_width, 0, 1))).astype(np.float32)
    return from_half_spectrum(spectrum, density.grid)


def sharpen(density: DensityMap, b_factor: float) -> DensityMap:
    """Amplitudes times exp(-b_factor f^2 / 4): a negative B-factor (square angstrom) sharpens, a positive one blurs.

    Source: Rosenthal & Henderson 2003, doi:10.1016/j.jmb.2003.07.013. Noise is lifted as well: low-pass after it.
    """
    return _times_gaussian(density, b_factor / 4)


def frequencies(density: DensityMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies (1/angstrom, float64) along z, y and x of a `half_spectrum`."""
    depth, height, length = density.grid.shape_zyx
    spacing = density.grid.voxel_size
    return np.fft.fftfreq(depth, spacing), np.fft.fftfreq(height, spacing), np.fft.rfftfreq(length, spacing)


def _times_gaussian(density: DensityMap, width: float) -> DensityMap:
    """Amplitudes times exp(-width f^2), axis by axis, width in square angstrom."""
    spectrum = half_spectrum(density)
    z, y, x = (np.exp(-width * f**2).astype(np.float32) for f in frequencies(density))
    spectrum *= z[:, None, None]
    spectrum *= y[:, None]
    spectrum *= x
    return from_half_spectrum(spectrum, density.grid)


def half_spectrum(density: DensityMap) -> np.ndarray:
    """(z, y, x // 2 + 1) complex64: the Fourier transform, unscaled, without the half that a real map repeats."""
    return np.asarray(fft.rfftn(np.asarray(density.values_zyx, dtype=np.float32)))


def from_half_spectrum(spectrum: np.ndarray, grid: Grid) -> DensityMap:
    """The map on `grid` of a `half_spectrum`, which is used up."""
    values = np.asarray(fft.irfftn(spectrum, s=grid.shape_zyx, overwrite_x=True))
    return DensityMap(values.astype(np.float32, copy=False), grid)


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise MapError(f"{name} {value:g} is not positive; give it in angstrom (an edge width in 1/angstrom)")
    return value
