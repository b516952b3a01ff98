"""A protein nobody has modelled yet, as compact rows of residues: for what depends on numbers of atoms alone."""

import numpy as np

from cryofound.structure.atomic_model import ATOM_NAMES, BACKBONE, ELEMENTS, ONE_LETTER, RESIDUE_TYPES, AtomicModel
from cryofound.structure.reading import SIDE_CHAINS

# An extended strand rises by 3.4 A a residue and strands of a sheet lie 4.8 A apart, sheets 10 A: a residue
# has 163 A^3, more than the 134 A^3 of a protein's core (Harpaz, Gerstein & Chothia 1994), as surfaces are rough.
RISE, STRAND, SHEET = 3.4, 4.8, 10.0


def stand_in(sequence: str) -> AtomicModel:
    """A ball of the residues of a one-letter sequence, centred on the origin, letters not known as alanine.

    Residues have the atoms and covalent geometry of the wwPDB's dictionary and are bonded within a row; rows are not
    bonded to one another, and side chains may lie in one another's way.
    """
    kinds = [letter if letter in ONE_LETTER[:-1] else "A" for letter in sequence.upper()]
    templates = {letter: _template(RESIDUE_TYPES[ONE_LETTER.index(letter)]) for letter in set(kinds)}
    length = max(1, round((len(kinds) * STRAND * SHEET / RISE**2) ** (1 / 3)))
    across = max(1, round(length * RISE / STRAND))
    positions, names, counts = [], [], []
    for number, letter in enumerate(kinds):
        row, place = divmod(number, length)
        forwards = 1 if row % 2 == 0 else -1
        side = 1 if place % 2 == 0 else -1
        named, xyz = templates[letter]
        # a half turn about z reverses the strand, one about x turns the side chain to the other face of the sheet
        turned = xyz * np.array([1, side, side]) * np.array([forwards, forwards, 1])
        along = place if forwards > 0 else length - 1 - place
        positions.append(turned + np.array([along * RISE, row % across * STRAND, row // across * SHEET]))
        names += named
        counts.append(len(named))
    xyz = np.concatenate(positions)
    return AtomicModel(
        positions_xyz=(xyz - 0.5 * (xyz.min(0) + xyz.max(0))).astype(np.float32),
        atom_name=np.array([ATOM_NAMES.index(name) for name in names]),
        element=np.array([ELEMENTS.index(name[0]) for name in names]),
        residue_index=np.repeat(np.arange(len(kinds)), counts),
        residue_type=np.array([ONE_LETTER.index(letter) for letter in kinds]),
        residue_number=np.arange(1, len(kinds) + 1),
        chain_id=np.array(["A"] * len(kinds)),
    )


def _template(kind: str) -> tuple[list[str], np.ndarray]:
    """Atom names and positions (atom, 3) of a residue: CA at the origin, N to C along x, the side chain towards z."""
    from biotite.structure.info import residue  # reads its dictionary, which takes a second

    drawn = residue(kind)
    at = {
        str(name): np.asarray(xyz)
        for name, xyz in zip(np.asarray(drawn.atom_name), np.asarray(drawn.coord), strict=True)
    }
    names = sorted([*BACKBONE, *SIDE_CHAINS[kind].split()], key=ATOM_NAMES.index)
    x = at["C"] - at["N"]
    x = x / np.linalg.norm(x)
    up = at["CA"] - 0.5 * (at["C"] + at["N"])
    z = up - (up @ x) * x
    z = z / np.linalg.norm(z)
    axes = np.stack([x, np.cross(z, x), z])
    return names, np.array([axes @ (at[name] - at["CA"]) for name in names])
