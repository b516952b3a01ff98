"""Peptides made up for tests: all heavy atoms, residues as the wwPDB's chemical dictionary draws them, any omega."""

from collections.abc import Sequence

import numpy as np
from biotite.structure import superimpose
from biotite.structure.info import residue as dictionary_residue

from cryofound.structure.atomic_model import ATOM_NAMES, BACKBONE, ELEMENTS, RESIDUE_TYPES, AtomicModel
from cryofound.structure.reading import SIDE_CHAINS


def made_peptide(
    sequence: Sequence[str], omega: float | Sequence[float] = 180.0, phi: float = -120.0, psi: float = 130.0
) -> AtomicModel:
    """A chain of named residues, extended by default; torsions in degrees, omega also of each of its peptide bonds."""
    omegas = np.broadcast_to(omega, len(sequence) - 1)
    chain = [np.array([0.0, 0.0, 0.0]), np.array([1.459, 0.0, 0.0])]
    chain.append(placed(np.array([0.0, 1.0, 0.0]), *chain, 1.525, 111.0, phi))
    for each in omegas:
        chain.append(placed(*chain[-3:], 1.334, 116.7, psi))
        chain.append(placed(*chain[-3:], 1.459, 122.0, float(each)))
        chain.append(placed(*chain[-3:], 1.525, 111.0, phi))
    positions, names, index = [], [], []
    for row, kind in enumerate(sequence):
        n, ca, c = chain[3 * row : 3 * row + 3]
        drawn = dictionary_residue(kind)
        coord = dict(zip(drawn.atom_name.tolist(), drawn.coord, strict=True))
        _, move = superimpose(np.stack([n, ca, c]), np.stack([coord[name] for name in BACKBONE[:3]]))
        at = {name: move.apply(coord[name][None])[0] for name in SIDE_CHAINS[kind].split()}
        at |= {"N": n, "CA": ca, "C": c, "O": placed(n, ca, c, 1.231, 120.4, psi - 180.0)}
        for name in sorted(at, key=ATOM_NAMES.index):
            positions.append(at[name])
            names.append(name)
            index.append(row)
    return AtomicModel(
        positions_xyz=np.array(positions, dtype=np.float32),
        atom_name=np.array([ATOM_NAMES.index(name) for name in names]),
        element=np.array([ELEMENTS.index(name[0]) for name in names]),
        residue_index=np.array(index),
        residue_type=np.array([RESIDUE_TYPES.index(kind) for kind in sequence]),
        residue_number=np.arange(1, len(sequence) + 1),
        chain_id=np.array(["A"] * len(sequence)),
    )


def placed(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: float) -> np.ndarray:
    """The point at `length` (angstrom) from c, with angle b-c-d and torsion a-b-c-d in degrees."""
    turn, twist = np.radians(angle), np.radians(torsion)
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    direction = [-np.cos(turn), np.sin(turn) * np.cos(twist), np.sin(turn) * np.sin(twist)]
    return c + length * np.array(direction) @ np.stack([along, np.cross(normal, along), normal])
