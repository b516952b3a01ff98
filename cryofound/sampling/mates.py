"""Symmetry mates: the copies of a complex's unique atoms, placed by its operators, so that they cannot differ."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cryofound.structure.symmetry import Symmetry


@dataclass(frozen=True)
class Mates:
    """unique (unit,) int64: the first copy of each atom; unit (atom,) int64: the place in `unique` of each atom's first
    copy; rotation (atom, 3, 3) and shift (atom, 3) float32 angstrom bring that copy onto the atom.
    """

    unique: Tensor
    unit: Tensor
    rotation: Tensor
    shift: Tensor

    @classmethod
    def of(cls, symmetry: Symmetry) -> Self:
        """Of the operators of a point group."""
        # of each atom's sources the first one there is
        sources = np.where(symmetry.atoms >= 0, symmetry.atoms, symmetry.atoms.shape[1])
        operator, first = sources.argmin(0), sources.min(0)
        unique, unit = np.unique(first, return_inverse=True)
        return cls(
            torch.from_numpy(unique),
            torch.from_numpy(unit),
            torch.from_numpy(symmetry.rotation[operator]).float(),
            torch.from_numpy(symmetry.shift[operator]).float(),
        )

    def all_atoms(self, unique_xyz: Tensor) -> Tensor:
        """Unique atoms (batch, unit, 3) -> the whole complex (batch, atom, 3), differentiable."""
        return (self.rotation @ unique_xyz[:, self.unit, :, None])[..., 0] + self.shift
