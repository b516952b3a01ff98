"""What the networks see of a molecule: padded tensors of its reference, batch first."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

BLOSUM_FEATURES = 20
GEOMETRY_FEATURES = 12  # training/residue_features.py says which


@dataclass(frozen=True)
class MoleculeBatch:
    """References of one batch, padded to the largest.

    reference_xyz (batch, atom, 3) angstrom; amplitude (batch, atom) atomic number, 0 for padding; atom_name (batch,
    atom) index into ATOM_NAMES; residue_index (batch, atom) row of the residue arrays; residue_type (batch, residue)
    index into RESIDUE_TYPES; residue_xyz (batch, residue, 3) CA in angstrom; family_position (batch, residue) place in
    the family anchor's sequence; residue_mask (batch, residue) bool; system_index (batch,) row of the residual table,
    -1 for a system without one; blosum (batch, residue, BLOSUM_FEATURES); residue_geometry (batch, residue,
    GEOMETRY_FEATURES), the same for a reference turned or moved; embedding (batch, residue, width) of a predictor,
    zero where embedding_mask (batch, residue) bool says that there is none; group_share (batch, residue, group) of
    structure/groups.py, zero for padding; symmetry_atoms (batch, operator, atom) and
    symmetry_rotation (batch, operator, 3, 3) as of `symmetry_tables`, which tie the copies of a chain; hide_identity
    and hide_geometry (batch,) bool, see `hiding`.
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
    blosum: Tensor
    residue_geometry: Tensor
    embedding: Tensor
    embedding_mask: Tensor
    group_share: Tensor
    symmetry_atoms: Tensor
    symmetry_rotation: Tensor
    hide_identity: Tensor
    hide_geometry: Tensor

    @property
    def atom_mask(self) -> Tensor:
        """(batch, atom) bool."""
        return self.amplitude > 0

    def rows(self, index: Tensor) -> "MoleculeBatch":
        """The molecules at `index` (n,), repeats allowed."""
        return MoleculeBatch(*(getattr(self, field.name)[index] for field in fields(self)))

    def trimmed(self) -> "MoleculeBatch":
        """The same molecules without the atoms and residues that are padding in all of them."""
        atoms, residues = int(self.atom_mask.sum(1).max()), int(self.residue_mask.sum(1).max())
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        per_atom = ("reference_xyz", "amplitude", "atom_name", "residue_index")
        cut = {
            name: value[:, : atoms if name in per_atom else residues]
            for name, value in values.items()
            if value.dim() > 1 and not name.startswith("symmetry")
        }
        return replace(self, **cut, symmetry_atoms=self.symmetry_atoms[:, :, :atoms])

    def hiding(self, identity: Tensor, geometry: Tensor) -> "MoleculeBatch":
        """The same molecules, of some of which residue tokens say less; identity, geometry (batch,) bool.

        Identity is residue type, BLOSUM62, place in the family and embedding; geometry is `residue_geometry`. Positions
        stay, and so does `system_index`.
        """
        return replace(self, hide_identity=identity, hide_geometry=geometry)

    def to(self, device: torch.device | str) -> "MoleculeBatch":
        """The same molecules on another device."""
        return MoleculeBatch(*(getattr(self, field.name).to(device) for field in fields(self)))
