"""Ordinary differential equation solvers from noise (time 0) to data (time 1)."""

from collections.abc import Callable

import torch
from torch import Tensor


def solve_ode(velocity: Callable[[Tensor, Tensor], Tensor], x_0: Tensor, steps: int) -> Tensor:
    """Euler's method with `steps` equal steps; velocity(x_t (batch, ...), time (batch,)) -> dx/dt as x_t.

    Returns the points at time 1, shaped as x_0. Raises ValueError for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, found {steps}")
    x_t = x_0
    for step in range(steps):
        time = torch.full((len(x_0),), step / steps, device=x_0.device, dtype=x_0.dtype)
        x_t = x_t + velocity(x_t, time) / steps
    return x_t


def guided(conditional: Tensor, unconditional: Tensor, strength: float) -> Tensor:
    """Classifier-free guidance (Ho 2022, arXiv 2207.12598), fields of one shape.

    A strength of 1 is the conditional field, 0 the unconditional one, above 1 goes past the conditional one.
    """
    return unconditional + strength * (conditional - unconditional)
