"""Maps at a coarser resolution than their own: what a fit starts with, before it sees detail."""

from collections.abc import Sequence

import torch
from torch import Tensor


def blurred(density: Tensor, resolutions: Sequence[float], coarser: Sequence[float], voxel_size: float) -> Tensor:
    """Each map as it would be at a coarser resolution, (batch, z, y, x) -> the same.

    resolutions, coarser (batch,) angstrom, voxel_size angstrom. The forward model draws an atom at resolution d with
    sigma d / (sqrt(2) pi), so amplitudes are multiplied by exp(-(coarser^2 - resolution^2) f^2): a map rendered at one
    becomes the map rendered at the other, but for its scale. The box is taken as one period. Raises ValueError for a
    resolution that is finer than the map's own.
    """
    widths = [there**2 - here**2 for here, there in zip(resolutions, coarser, strict=True)]
    if min(widths, default=0.0) < 0:
        raise ValueError(f"maps of {list(resolutions)} A cannot be brought to {list(coarser)} A")
    if not any(widths):
        return density
    width = torch.tensor(widths, device=density.device, dtype=density.dtype)[:, None]
    spectrum = torch.fft.rfftn(density, dim=(1, 2, 3))
    for axis in (1, 2, 3):
        frequency = torch.fft.rfftfreq if axis == 3 else torch.fft.fftfreq
        amplitude = torch.exp(-width * frequency(density.shape[axis], voxel_size, device=density.device) ** 2)
        spectrum = spectrum * amplitude.view(-1, *[amplitude.shape[1] if other == axis else 1 for other in (1, 2, 3)])
    return torch.fft.irfftn(spectrum, s=density.shape[1:], dim=(1, 2, 3))


def sharpening(coarse: float, fine: float, done: float) -> float:
    """Resolution (angstrom) that falls geometrically from `coarse` to `fine` as `done` goes from 0 to 1."""
    done = min(done, 1.0)
    return coarse ** (1 - done) * fine**done
