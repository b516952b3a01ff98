"""Normalised cross-correlation between density maps."""

import torch
from torch import Tensor


def ncc(density: Tensor, target: Tensor) -> Tensor:
    """Pearson correlation over all voxels of each map, (batch, z, y, x) twice -> (batch,), in -1 to 1.

    Invariant to scale and shift of either map. A constant map correlates 0 with everything.
    """
    a = (density - density.mean(dim=(1, 2, 3), keepdim=True)).flatten(1)
    b = (target - target.mean(dim=(1, 2, 3), keepdim=True)).flatten(1)
    norm = (a.square().sum(1) * b.square().sum(1)).clamp_min(torch.finfo(a.dtype).tiny).sqrt()
    return (a * b).sum(1) / norm
