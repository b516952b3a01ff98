"""One protein model as flat arrays, in the one vocabulary that the networks and the physics share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

RESIDUE_TYPES: Sequence[str] = (
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL UNK"
).split()
ONE_LETTER = "ARNDCQEGHILKMFPSTWYVX"  # of RESIDUE_TYPES
ELEMENTS: Sequence[str] = ("C N O S P SE X").split()
ATOM_NAMES: Sequence[str] = (
    "N CA C O CB CG CG1 CG2 CD CD1 CD2 CE CE1 CE2 CE3 CZ CZ2 CZ3 CH2 "
    "ND1 ND2 NE NE1 NE2 NH1 NH2 NZ OD1 OD2 OE1 OE2 OG OG1 OH SD SG OXT OTHER"
).split()
BACKBONE = ("N", "CA", "C", "O")
ATOMIC_NUMBERS = {"C": 6, "N": 7, "O": 8, "S": 16, "P": 15, "SE": 34, "X": 6}


@dataclass(frozen=True)
class AtomicModel:
    """Heavy atoms of one or more protein chains.

    positions_xyz (atom, 3) float32 angstrom; atom_name (atom,) index into ATOM_NAMES; element (atom,) index into
    ELEMENTS; residue_index (atom,) row of the residue arrays; residue_type (residue,) index into RESIDUE_TYPES;
    residue_number (residue,) author numbering; chain_id (residue,) str.
    Atoms are grouped by residue in chain order; every residue has N, CA, C and O.
    """

    positions_xyz: np.ndarray
    atom_name: np.ndarray
    element: np.ndarray
    residue_index: np.ndarray
    residue_type: np.ndarray
    residue_number: np.ndarray
    chain_id: np.ndarray

    @property
    def n_atoms(self) -> int:
        return len(self.positions_xyz)

    @property
    def n_residues(self) -> int:
        return len(self.residue_type)

    def moved(self, positions_xyz: np.ndarray) -> "AtomicModel":
        """The same atoms at other positions (atom, 3)."""
        return replace(self, positions_xyz=np.asarray(positions_xyz, dtype=np.float32))

    def backbone_index(self) -> np.ndarray:
        """(residue, 4) rows of N, CA, C, O in the atom arrays."""
        table = np.full((self.n_residues, 4), -1, dtype=np.int64)
        for column, name in enumerate(BACKBONE):
            rows = np.flatnonzero(self.atom_name == ATOM_NAMES.index(name))
            table[self.residue_index[rows], column] = rows
        return table

    def ca_xyz(self) -> np.ndarray:
        """(residue, 3) CA positions."""
        return self.positions_xyz[self.backbone_index()[:, 1]]
