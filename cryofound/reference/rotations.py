"""Rotations for a rigid search: spread evenly over all orientations, and made from three numbers with a gradient."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

# The two irrational steps of the spiral: the square root of two, and the real root of x^4 = x + 4.
PHI, PSI = 2**0.5, 1.533751168755204288118041413


def spread_rotations(count: int) -> np.ndarray:
    """(count, 3, 3) float64 rotations, evenly spread over all orientations, the same on every call.

    Super-Fibonacci spirals: Alexa 2022, doi:10.1109/CVPR52688.2022.00811.
    """
    step = np.arange(count) + 0.5
    inner, outer = np.sqrt(step / count), np.sqrt(1 - step / count)
    alpha, beta = 2 * np.pi * step / PHI, 2 * np.pi * step / PSI
    quaternions = np.stack(
        [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)], axis=1
    )
    return Rotation.from_quat(quaternions).as_matrix()


def rotation_from_vector(vector: Tensor) -> Tensor:
    """(3, 3) rotation about `vector` (3,) by its length in radians, differentiable everywhere (Rodrigues' formula)."""
    square = vector.square().sum()
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    sine = torch.where(small, 1 - square / 6, torch.sin(angle) / angle)
    versine = torch.where(small, 0.5 - square / 24, (1 - torch.cos(angle)) / angle.square())
    x, y, z = vector
    none = torch.zeros_like(x)
    turn = torch.stack([none, -z, y, z, none, -x, -y, x, none]).reshape(3, 3)
    return torch.eye(3, dtype=vector.dtype) + sine * turn + versine * (turn @ turn)
