"""Ordinary differential equation solvers from noise (time 0) to data (time 1)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]


def solve_ode(
    velocity: Velocity, x_0: Tensor, steps: int, method: Literal["euler", "midpoint", "heun"] = "euler"
) -> Tensor:
    """Solve in `steps` equal steps; velocity(x_t (batch, ...), time (batch,)) -> dx/dt as x_t.

    Euler's method asks for the velocity once a step and has an error of first order in the step; the midpoint method
    and Heun's ask twice and have second order (Butcher 2016, section 23). Returns the points at time 1, shaped as x_0.
    Raises ValueError for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, found {steps}")
    x_t, length = x_0, 1 / steps
    for step in range(steps):
        time = torch.full((len(x_0),), step / steps, device=x_0.device, dtype=x_0.dtype)
        slope = velocity(x_t, time)
        if method == "midpoint":
            slope = velocity(x_t + 0.5 * length * slope, time + 0.5 * length)
        elif method == "heun":
            slope = 0.5 * (slope + velocity(x_t + length * slope, time + length))
        x_t = x_t + length * slope
    return x_t


def guided(conditional: Tensor, unconditional: Tensor, strength: float) -> Tensor:
    """Classifier-free guidance (Ho 2022, arXiv 2207.12598), fields of one shape.

    A strength of 1 is the conditional field, 0 the unconditional one, above 1 goes past the conditional one.
    """
    return unconditional + strength * (conditional - unconditional)
