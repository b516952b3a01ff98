"""What one atom looks like in a density map: a sum of Gaussians, each `height * exp(-decay * r^2)`.

Two forms. *Gaussian*: one Gaussian of the atom's atomic number (CryoSampler, arXiv 2605.09832). *Electron*: the five
Gaussians of its electron scattering factor (Peng 1996, doi:10.1107/S0108767395014371), as gemmi holds them, widened by
the atom's B-factor and a blur.
"""

import math
from functools import cache

import gemmi
import torch
from torch import Tensor

MAX_ATOMIC_NUMBER = 98  # californium, the last that Peng's tables hold


def gaussian_sigma(resolution: float) -> float:
    """Width in angstrom of one atom at a resolution in angstrom."""
    return resolution / (math.sqrt(2.0) * math.pi)


def resolution_blur(resolution: float) -> float:
    """B-factor (angstrom^2) that blurs a point to `gaussian_sigma(resolution)`: B = 8 pi^2 sigma^2 = 4 resolution^2."""
    return 4.0 * resolution**2


def gaussian_form(amplitudes: Tensor, resolution: float) -> tuple[Tensor, Tensor]:
    """amplitudes (batch, atom) -> heights and decays (angstrom^-2), both (batch, atom, 1)."""
    decay = 0.5 / gaussian_sigma(resolution) ** 2
    return amplitudes[..., None], amplitudes.new_full((1, 1, 1), decay).expand(*amplitudes.shape, 1)


def electron_form(
    atomic_number: Tensor, b_factor: Tensor, occupancy: Tensor, blur: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Heights (volts, after the factor of Peng's tables) and decays (angstrom^-2), both (batch, atom, 5).

    atomic_number (batch, atom) int64, 0 for padding; b_factor (batch, atom) angstrom^2; occupancy (batch, atom); blur
    angstrom^2, added to every B-factor. A term a exp(-b s^2 / 4) of the factor becomes, in space,
    a (4 pi / t)^(3/2) exp(-4 pi^2 r^2 / t) with t = b + B + blur. Differentiable in b_factor and occupancy.
    """
    table = electron_coefficients().to(device=b_factor.device, dtype=b_factor.dtype)[atomic_number]
    spread = table[..., 1, :] + b_factor[..., None] + blur
    heights = occupancy[..., None] * table[..., 0, :] * (4 * math.pi / spread) ** 1.5
    return heights, 4 * math.pi**2 / spread


@cache
def electron_coefficients() -> Tensor:
    """(atomic number, 2, 5) float64: a (angstrom) and b (angstrom^2) of each element; row 0, padding, is empty."""
    rows = [[[0.0] * 5, [1.0] * 5]]
    for number in range(1, MAX_ATOMIC_NUMBER + 1):
        factor = gemmi.Element(number).c4322
        rows.append([list(factor.a), list(factor.b)])
    return torch.tensor(rows, dtype=torch.float64)
