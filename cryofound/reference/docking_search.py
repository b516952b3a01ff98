"""Where a model might lie in a map: the local correlation at every position, for rotations spread over all."""

import numpy as np
import torch
from scipy import fft

from cryofound.maps.density_map import DensityMap, Grid
from cryofound.physics.density import render_gaussian

BATCH = 8  # rotations at a time, few enough to stay in the cache
MASK_LEVEL = 0.05  # of the model's highest density
VARIANCE_FLOOR = 0.02  # of the highest local variance; below it, even noise of solvent would correlate


def local_correlation(
    points_xyz: np.ndarray, weights: np.ndarray, density: DensityMap, resolution: float, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best position of each rotation: its score (rotation,) in -1 to 1 and the model's centre (rotation, 3).

    points_xyz (point, 3) angstrom about the model's centre, weights (point,); `density` filtered to `resolution`, zero
    outside the molecule and, by assumption, beyond its edges; rotations (rotation, 3, 3). The model's centre is tried
    at every voxel. The score is Pearson's within the model's own mask, moved along, by fast Fourier transforms:
    Roseman 2000, doi:10.1107/S0907444900010908; local variances below VARIANCE_FLOOR of the highest count as that.
    """
    radius = float(np.linalg.norm(points_xyz, axis=1).max()) + resolution
    half = int(np.ceil(radius / density.grid.voxel_size))
    window = Grid.centred(2 * half + 1, density.grid.voxel_size)
    depth, height, length = density.grid.shape_zyx
    # With `half` empty voxels in front, index = centre; those at the end wrap around into them.
    shape = [_fast(max(size + half, 2 * half + 1)) for size in density.grid.shape_zyx]
    padded = np.zeros(shape, dtype=np.float32)
    inside = padded[half : half + depth, half : half + height, half : half + length]
    inside[...] = density.values_zyx / density.values_zyx.std()
    spectrum, spectrum_of_square = _forward(padded), _forward(padded**2)
    points, amplitudes = points_xyz.astype(np.float32), torch.from_numpy(weights.astype(np.float32))
    scores, centres = [], []
    for start in range(0, len(rotations), BATCH):
        turned = torch.from_numpy(points @ rotations[start : start + BATCH].astype(np.float32).transpose(0, 2, 1))
        drawn = render_gaussian(turned, amplitudes.expand(len(turned), -1).contiguous(), window, resolution).numpy()
        mask = (drawn > MASK_LEVEL * drawn.max()).astype(np.float32)
        count = mask.sum((1, 2, 3), keepdims=True)
        drawn = (drawn - (drawn * mask).sum((1, 2, 3), keepdims=True) / count) * mask
        drawn /= np.sqrt((drawn**2).sum((1, 2, 3), keepdims=True))
        of_model, of_mask = (np.conj(_forward(each, shape)) for each in (drawn, mask))
        product, total, square = (
            _backward(each, shape)[:, :depth, :height, :length]
            for each in (of_model * spectrum, of_mask * spectrum, of_mask * spectrum_of_square)
        )
        variance = square - total**2 / count
        floor = VARIANCE_FLOOR * variance.max((1, 2, 3), keepdims=True)
        score = (product / np.sqrt(np.maximum(variance, floor))).reshape(len(turned), -1)
        best = score.argmax(1)
        scores.append(score[np.arange(len(best)), best])
        centres.append(np.stack(np.unravel_index(best, (depth, height, length))[::-1], axis=1))
    voxels_xyz = np.concatenate(centres)
    return np.concatenate(scores), density.grid.origin_xyz + density.grid.voxel_size * voxels_xyz


def _forward(values: np.ndarray, shape: list[int] | None = None) -> np.ndarray:
    """Fourier transform over the last three axes, padded with zeros to `shape`."""
    return np.asarray(fft.rfftn(values, s=shape, axes=(-3, -2, -1), workers=torch.get_num_threads()))


def _backward(spectra: np.ndarray, shape: list[int]) -> np.ndarray:
    return np.asarray(
        fft.irfftn(spectra, s=shape, axes=(-3, -2, -1), overwrite_x=True, workers=torch.get_num_threads())
    )


def _fast(size: int) -> int:
    """The next length that transforms fast."""
    return int(fft.next_fast_len(size, real=True) or size)
