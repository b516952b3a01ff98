"""The symmetric part of a displacement field: copies of a chain that move alike."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def symmetrised(displacement: Tensor, atoms: Tensor, rotation: Tensor) -> Tensor:
    """The mean over a point group of displacements (batch, atom, 3) carried along by its operators.

    atoms (batch, operator, atom) int64: the atom that an operator brings onto each atom, -1 for none; rotation (batch,
    operator, 3, 3). An atom takes the mean over those of its copies that are there, itself among them; what has no
    symmetry, and padding, stays as it is. It is a projection: a symmetric motion is unchanged.
    """
    if atoms.shape[1] == 1:
        return displacement
    there = atoms >= 0
    total = torch.zeros_like(displacement)
    for number in range(atoms.shape[1]):  # one by one: all images at once would need as many times the memory
        source = atoms[:, number].clamp_min(0)[..., None].expand_as(displacement)
        image = displacement.gather(1, source) @ rotation[:, number].transpose(1, 2).to(displacement.dtype)
        total = total + image * there[:, number, :, None]
    return total / there.sum(1)[..., None]


def symmetry_tables(groups: Sequence[tuple[np.ndarray, np.ndarray] | None], atoms: int) -> tuple[Tensor, Tensor]:
    """`atoms` and `rotation` of `symmetrised` for molecules padded to `atoms` atoms.

    Each group is (operator, atom) source atoms and (operator, 3, 3) rotations with the identity first, as of
    structure/symmetry.py; None for a molecule whose copies are free, or that has none.
    """
    most = max((len(group[0]) for group in groups if group is not None), default=1)
    sources = torch.full((len(groups), most, atoms), -1)
    sources[:, 0] = torch.arange(atoms)
    rotation = torch.eye(3).repeat(len(groups), most, 1, 1)
    for row, group in enumerate(groups):
        if group is not None:
            own, turns = group
            sources[row, : len(own), : own.shape[1]] = torch.from_numpy(own)
            rotation[row, : len(turns)] = torch.from_numpy(turns).float()
    return sources, rotation
