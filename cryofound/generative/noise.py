"""Noise that a flow starts from, drawn so that few samples are spread well."""

import torch
from torch import Tensor


def antithetic_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal noise (sample, ...) in pairs e and -e, one after the other; the last of an odd number is alone.

    Each sample is standard normal by itself, and the mean of every pair is zero: where the flow parts the noise by a
    plane through the origin, as it does between two states of equal weight, each state gets half of the samples.
    """
    half = torch.randn((shape[0] + 1) // 2, *shape[1:], generator=generator, device=generator.device)
    return torch.stack([half, -half], dim=1).flatten(0, 1)[: shape[0]]
