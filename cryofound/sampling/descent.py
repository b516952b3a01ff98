"""L-BFGS over a batch: every row descends by itself, and all ask for their energies at once."""

from collections.abc import Callable

import torch
from torch import Tensor

MEMORY = 10  # steps that curvature is learnt from (Nocedal and Wright 2006, section 7.2)
DECREASE = 1e-4  # share of the slope that a step must gain (Armijo)
SHORTER = 0.3  # factor of a step that gained too little

Operator = Callable[[Tensor], Tensor]


def descend(
    start: Tensor, energy: Operator, evaluations: int, precondition: Operator, *, first: float, longest: float
) -> Tensor:
    """Points (batch, atom, 3) of less energy than `start`, after so many evaluations of it.

    energy: (batch, atom, 3) -> (batch,), differentiable, each row by itself. precondition: the product of gradients
    (batch, atom, 3) with a positive definite matrix near the inverse of the Hessian, up to a factor. No atom moves by
    more than `longest` angstrom in a step, nor by more than `first` in the first one.
    """
    point, (value, slope) = start, _evaluate(energy, start)
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    scale = first / _longest(precondition(slope)).clamp_min(1e-12)
    direction = -_times(scale, precondition(slope))
    length = torch.ones_like(value)
    for _ in range(evaluations - 1):
        bounded = length * (longest / _longest(direction).clamp_min(1e-12)).clamp_max(1)
        move = _times(bounded, direction)
        there, (there_value, there_slope) = point + move, _evaluate(energy, point + move)
        gained = there_value <= value + DECREASE * bounded * _dot(slope, direction)
        change = there_slope - slope
        bend = _dot(move, change)
        # a row that did not move, or met no positive curvature, learns nothing from this evaluation
        learnt = gained & (bend > 1e-10)
        kept = learnt.to(bend.dtype)
        steps = [*steps, (_times(kept, move), _times(kept, change), kept / bend.clamp_min(1e-10))][-MEMORY:]
        stiffness = _dot(change, precondition(change)).clamp_min(1e-20)
        scale = torch.where(learnt, bend / stiffness, scale)
        point = torch.where(gained[:, None, None], there, point)
        value, slope = torch.where(gained, there_value, value), torch.where(gained[:, None, None], there_slope, slope)
        length = torch.where(gained, 1.0, SHORTER * length)
        further = _direction(slope, steps, scale, precondition)
        direction = torch.where(gained[:, None, None], further, direction)
        uphill = _dot(slope, direction) >= 0
        if bool(uphill.any()):
            steepest = -_times(scale, precondition(slope))
            direction = torch.where(uphill[:, None, None], steepest, direction)
    return point


def _evaluate(energy: Operator, point: Tensor) -> tuple[Tensor, Tensor]:
    """Energy (batch,) and its gradient (batch, atom, 3)."""
    with torch.enable_grad():
        point = point.detach().requires_grad_()
        value = energy(point)
        (slope,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), slope


def _direction(
    slope: Tensor, steps: list[tuple[Tensor, Tensor, Tensor]], scale: Tensor, precondition: Operator
) -> Tensor:
    """Minus the product of the gradient with the inverse Hessian as the steps tell it (two-loop recursion)."""
    shares = []
    for move, change, inverse in reversed(steps):
        shares.append(inverse * _dot(move, slope))
        slope = slope - _times(shares[-1], change)
    product = _times(scale, precondition(slope))
    for (move, change, inverse), share in zip(steps, reversed(shares), strict=True):
        product = product + _times(share - inverse * _dot(change, product), move)
    return -product


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum((1, 2))


def _times(factor: Tensor, vector: Tensor) -> Tensor:
    return factor[:, None, None] * vector


def _longest(vector: Tensor) -> Tensor:
    """(batch,) the largest movement of an atom."""
    return vector.square().sum(-1).amax(1).sqrt()
