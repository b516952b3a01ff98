"""Torsion angles, differentiable: what the Ramachandran, rotamer and omega terms are functions of."""

import torch
from torch import Tensor


def dihedral(positions_xyz: Tensor, atoms: Tensor) -> Tensor:
    """Torsion angles in radians, -pi to pi (IUPAC sign): (batch, atom, 3), rows (torsion, 4) -> (batch, torsion)."""
    a, b, c, d = (positions_xyz[:, atoms[:, column]] for column in range(4))
    axis = c - b
    first = torch.linalg.cross(a - b, axis)
    second = torch.linalg.cross(d - c, axis)
    sine = (torch.linalg.cross(first, second) * axis).sum(-1) / axis.norm(dim=-1)
    return torch.atan2(sine, (first * second).sum(-1))
