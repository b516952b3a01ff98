"""Normalised cross-correlation between density maps, with its gradient written by hand.

Autograd keeps five arrays of the size of the batch of maps; this keeps the two maps alone.
"""

from typing import Any

import torch
from torch import Tensor

PIECE = 2**18  # voxels at a time, where a whole map would leave the cache


def ncc(density: Tensor, target: Tensor) -> Tensor:
    """Pearson correlation over all voxels of each map, (batch, z, y, x) twice -> (batch,), in -1 to 1.

    Invariant to scale and shift of either map. A constant map correlates 0 with everything. Differentiable in both.
    """
    return _Correlation.apply(density, target)


class _Correlation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, density: Tensor, target: Tensor) -> Tensor:
        sums = torch.stack([_sums(a, b) for a, b in zip(density, target, strict=True)])
        mean_a, mean_b, square_a, square_b, product = sums.unbind(1)
        # 1 / norm, or 0 for a constant map
        scale_a, scale_b = (torch.where(square > 0, square.rsqrt(), 0.0) for square in (square_a, square_b))
        correlation = product * scale_a * scale_b
        ctx.save_for_backward(density, target, mean_a, mean_b, scale_a, scale_b, correlation)
        return correlation

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        density, target, mean_a, mean_b, scale_a, scale_b, correlation = ctx.saved_tensors
        a, b = (density, mean_a, scale_a), (target, mean_b, scale_b)
        wanted = zip(ctx.needs_input_grad, ((a, b), (b, a)), strict=True)
        of_a, of_b = (_gradient(*pair, correlation, grad_outputs[0]) if needed else None for needed, pair in wanted)
        return of_a, of_b


def _sums(a: Tensor, b: Tensor) -> Tensor:
    """Means of two maps (z, y, x), sums of their squares about the means, and of their products."""
    mean_a, mean_b = a.mean(), b.mean()
    parts = []
    for part_a, part_b in zip(a.flatten().split(PIECE), b.flatten().split(PIECE), strict=True):
        about_a, about_b = part_a - mean_a, part_b - mean_b
        parts.append(torch.stack([about_a.square().sum(), about_b.square().sum(), (about_a * about_b).sum()]))
    return torch.cat([torch.stack([mean_a, mean_b]), torch.stack(parts).sum(0)])


def _gradient(
    own: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor], correlation: Tensor, cotangent: Tensor
) -> Tensor:
    """cotangent * d correlation / d own = cotangent / |a| * (b / |b| - correlation * a / |a|), about the means.

    own, other: maps (batch, z, y, x), their means and inverse norms (batch,).
    """
    (a, mean_a, scale_a), (b, mean_b, scale_b) = own, other
    of_a, of_b = -cotangent * correlation * scale_a.square(), cotangent * scale_a * scale_b
    shift = -(of_a * mean_a + of_b * mean_b)
    gradient = torch.empty_like(a)
    for row, out in enumerate(gradient):
        torch.mul(a[row], of_a[row], out=out).addcmul_(b[row], of_b[row]).add_(shift[row])
    return gradient
