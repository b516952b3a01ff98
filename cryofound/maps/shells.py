"""Fourier shells: correlation of two maps by resolution, and what resolution half maps have."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.filters import frequencies, from_half_spectrum, half_spectrum
from cryofound.maps.masks import masked

HALF_MAP_THRESHOLD = 0.143  # Rosenthal & Henderson 2003, doi:10.1016/j.jmb.2003.07.013
RANDOMISED_FROM = 0.8  # unmasked correlation below which phases are randomised


@dataclass(frozen=True)
class ShellCorrelation:
    """`frequency` (1/angstrom), `correlation`, `count` of Fourier coefficients: each (shell,) float64, from shell 1."""

    frequency: np.ndarray
    correlation: np.ndarray
    count: np.ndarray

    def resolution(self, threshold: float = HALF_MAP_THRESHOLD) -> float:
        """Angstrom where the curve first falls below the threshold, between shells by a straight line.

        A curve that never does gives its last shell (Nyquist); one that begins below gives its first shell.
        """
        below = np.flatnonzero(self.correlation < threshold)
        if not len(below):
            return float(1 / self.frequency[-1])
        at = int(below[0])
        if at == 0:
            return float(1 / self.frequency[0])
        high, low = self.correlation[at - 1], self.correlation[at]
        part = (high - threshold) / (high - low)
        return float(1 / (self.frequency[at - 1] + part * (self.frequency[at] - self.frequency[at - 1])))


@dataclass(frozen=True)
class HalfMapResolution:
    """Curves of two half maps: as they are, within the mask, and the latter corrected for what the mask itself adds."""

    unmasked: ShellCorrelation
    masked: ShellCorrelation | None = None
    corrected: ShellCorrelation | None = None

    @property
    def resolution(self) -> float:
        """Angstrom at 0.143 of the best curve at hand: corrected if there was a mask, else unmasked."""
        return (self.corrected or self.unmasked).resolution()


def shell_correlation(first: DensityMap, second: DensityMap, mask: np.ndarray | None = None) -> ShellCorrelation:
    """Fourier shell correlation of two maps on one grid, each multiplied by the mask (z, y, x) if one is given.

    Shell k holds the coefficients whose frequency rounds to k / (longest edge), up to Nyquist. Source: Harauz & van
    Heel 1986, Optik 73, 146. Raises MapError if the grids differ or a shell holds nothing.
    """
    _same_grid(first, second)
    spectra = [half_spectrum(density if mask is None else masked(density, mask)) for density in (first, second)]
    return _correlation(spectra[0], spectra[1], first)


def half_map_resolution(
    first: DensityMap, second: DensityMap, mask: np.ndarray | None = None, *, seed: int = 0
) -> HalfMapResolution:
    """Correlation of half maps, with a mask also within it and corrected by phase randomisation.

    Phases are randomised (by `seed`) beyond the frequency where the unmasked curve falls below 0.8; from two shells
    further on, corrected = (masked - randomised) / (1 - randomised). Source: Chen et al. 2013,
    doi:10.1016/j.ultramic.2013.06.004. Raises MapError as `shell_correlation` does.
    """
    unmasked = shell_correlation(first, second)
    if mask is None:
        return HalfMapResolution(unmasked)
    within = shell_correlation(first, second, mask)
    start = 1 / unmasked.resolution(RANDOMISED_FROM)
    rng = np.random.default_rng(seed)
    shuffled = [_phases_randomised(density, start, rng) for density in (first, second)]
    chance = shell_correlation(shuffled[0], shuffled[1], mask).correlation
    changed = np.arange(len(chance)) >= np.searchsorted(unmasked.frequency, start) + 2
    # Chance reaches one only if the mask leaves nothing but itself to compare.
    corrected = np.where(changed, (within.correlation - chance) / np.maximum(1 - chance, 1e-6), within.correlation)
    return HalfMapResolution(unmasked, within, ShellCorrelation(within.frequency, corrected, within.count))


def radial_amplitude(density: DensityMap) -> tuple[np.ndarray, np.ndarray]:
    """(frequency, amplitude), each (shell,) float64: root mean square Fourier amplitude by shell of 1/angstrom.

    Amplitudes are of the transform over the square root of the voxel number, so white noise of sd s gives s.
    """
    spectrum = half_spectrum(density)
    power, count = _sums(lambda section: (np.abs(spectrum[section]) ** 2,), density)
    return _shell_frequencies(density), np.sqrt(power / count / density.values_zyx.size)


def _correlation(first: np.ndarray, second: np.ndarray, density: DensityMap) -> ShellCorrelation:
    def products(section: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b = first[section], second[section]
        return (a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2

    cross, power_a, power_b, count = _sums(products, density)
    if not (power_a.all() and power_b.all()):
        empty = int(np.flatnonzero((power_a == 0) | (power_b == 0))[0]) + 1
        raise MapError(
            f"a map has no signal in Fourier shell {empty}: it is empty or was cut off there; use another map"
        )
    return ShellCorrelation(_shell_frequencies(density), cross / np.sqrt(power_a * power_b), count)


def _sums(products: Callable[[int], tuple[np.ndarray, ...]], density: DensityMap) -> list[np.ndarray]:
    """Sums by shell, from 1, of what `products(section)` gives for each z of the half spectrum; the counts are last."""
    z, y, x = frequencies(density)
    longest = max(density.grid.shape_zyx)
    edge = longest * density.grid.voxel_size
    # The half spectrum stands for both halves: all but the planes that are their own mirror count twice.
    twice = np.full(len(x), 2.0)
    twice[0] = 1
    if density.grid.shape_zyx[2] % 2 == 0:
        twice[-1] = 1
    across = y[:, None] ** 2 + x**2
    weight = np.broadcast_to(twice, across.shape).ravel()
    shells = longest // 2
    sums: list[np.ndarray] = []
    for section, frequency in enumerate(z):
        shell = np.minimum(np.rint(np.sqrt(frequency**2 + across) * edge), shells + 1).astype(np.intp).ravel()
        parts = (*(part.ravel() * weight for part in products(section)), weight)
        sections = [np.bincount(shell, part, minlength=shells + 2) for part in parts]
        sums = [total + part for total, part in zip(sums, sections, strict=True)] if sums else sections
    return [total[1 : shells + 1] for total in sums]


def _shell_frequencies(density: DensityMap) -> np.ndarray:
    longest = max(density.grid.shape_zyx)
    return np.arange(1, longest // 2 + 1) / (longest * density.grid.voxel_size)


def _phases_randomised(density: DensityMap, start: float, rng: np.random.Generator) -> DensityMap:
    """The map with the phases of white noise beyond a frequency (1/angstrom), its amplitudes kept."""
    spectrum = half_spectrum(density)
    # The transform of real noise: its phases have the symmetry that a real map needs.
    noise = DensityMap(rng.standard_normal(density.grid.shape_zyx, dtype=np.float32), density.grid)
    random = half_spectrum(noise)
    z, y, x = frequencies(density)
    for section, frequency in enumerate(z):
        beyond = np.sqrt(frequency**2 + y[:, None] ** 2 + x**2) >= start
        phase = random[section] / np.maximum(np.abs(random[section]), np.finfo(np.float32).tiny)
        spectrum[section] = np.where(beyond, np.abs(spectrum[section]) * phase, spectrum[section])
    return from_half_spectrum(spectrum, density.grid)


def _same_grid(first: DensityMap, second: DensityMap) -> None:
    a, b = first.grid, second.grid
    if a.shape_zyx != b.shape_zyx or abs(a.voxel_size - b.voxel_size) > 1e-3 * a.voxel_size:
        raise MapError(
            f"maps of {a.shape_zyx} voxels of {a.voxel_size:g} A and {b.shape_zyx} of {b.voxel_size:g} A cannot be "
            "compared shell by shell; resample one of them first"
        )
    if max(abs(p - q) for p, q in zip(a.origin_xyz, b.origin_xyz, strict=True)) > 0.1 * a.voxel_size:
        raise MapError(f"maps with origins {a.origin_xyz} and {b.origin_xyz} A lie apart; resample one of them first")
