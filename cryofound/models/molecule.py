"""What the networks see of a molecule: padded tensors of its reference, batch first."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class MoleculeBatch:
    """References of one batch, padded to the largest.

    reference_xyz (batch, atom, 3) angstrom; amplitude (batch, atom) atomic number, 0 for padding; atom_name (batch,
    atom) index into ATOM_NAMES; residue_index (batch, atom) row of the residue arrays; residue_type (batch, residue)
    index into RESIDUE_TYPES; residue_xyz (batch, residue, 3) CA in angstrom; family_position (batch, residue) place in
    the family anchor's sequence; residue_mask (batch, residue) bool; system_index (batch,) row of the residual table,
    -1 for a system without one.
    """

    reference_xyz: Tensor
    amplitude: Tensor
    atom_name: Tensor
    residue_index: Tensor
    residue_type: Tensor
    residue_xyz: Tensor
    family_position: Tensor
    residue_mask: Tensor
    system_index: Tensor

    @property
    def atom_mask(self) -> Tensor:
        """(batch, atom) bool."""
        return self.amplitude > 0

    def rows(self, index: Tensor) -> "MoleculeBatch":
        """The molecules at `index` (n,), repeats allowed."""
        return MoleculeBatch(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device | str) -> "MoleculeBatch":
        """The same molecules on another device."""
        return MoleculeBatch(*(getattr(self, field.name).to(device) for field in fields(self)))
