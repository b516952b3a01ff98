"""Riding hydrogens: where the hydrogens of a protein lie, as a differentiable function of its heavy atoms.

A hydrogen stands still in a frame of its parent and the heavy atoms bonded to it. Bonds end in the electron cloud, as
for MolProbity's clashscore, not at the nucleus (Deis et al. 2013, Computational Crystallography Newsletter 4, 9-10).
Hydrogens that turn freely (OH, SH) have no place of their own and are left out; methyl and ammonium groups are
staggered; both nitrogens of histidine carry one. A hydrogen whose frame is not all there is left out too, as at the
nitrogen that begins a chain or follows a gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from cryofound.physics.geometry import bonded_to_next
from cryofound.physics.on_device import OnDevice
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES, AtomicModel

# Paths along bonds; tests compare them with the wwPDB's chemical component dictionary.
BACKBONE_PATHS = "N CA C O, C OXT"
SIDE_CHAIN_PATHS = {
    "ALA": "CA CB", "ARG": "CA CB CG CD NE CZ NH1, CZ NH2", "ASN": "CA CB CG OD1, CG ND2",
    "ASP": "CA CB CG OD1, CG OD2", "CYS": "CA CB SG", "GLN": "CA CB CG CD OE1, CD NE2",
    "GLU": "CA CB CG CD OE1, CD OE2", "GLY": "", "HIS": "CA CB CG ND1 CE1 NE2 CD2 CG",
    "ILE": "CA CB CG1 CD1, CB CG2", "LEU": "CA CB CG CD1, CG CD2", "LYS": "CA CB CG CD CE NZ", "MET": "CA CB CG SD CE",
    "PHE": "CA CB CG CD1 CE1 CZ CE2 CD2 CG", "PRO": "CA CB CG CD N", "SER": "CA CB OG",
    "THR": "CA CB OG1, CB CG2", "TRP": "CA CB CG CD1 NE1 CE2 CZ2 CH2 CZ3 CE3 CD2 CG, CD2 CE2",
    "TYR": "CA CB CG CD1 CE1 CZ CE2 CD2 CG, CZ OH", "VAL": "CA CB CG1, CB CG2", "UNK": "CA CB",
}  # fmt: skip
RINGS = {
    "HIS": "CG ND1 CE1 NE2 CD2", "PHE": "CG CD1 CE1 CZ CE2 CD2", "TYR": "CG CD1 CE1 CZ CE2 CD2",
    "TRP": "CG CD1 NE1 CE2 CZ2 CH2 CZ3 CE3 CD2",
}  # fmt: skip
# Atoms outside rings whose bonds lie in one plane, beside N and C of the backbone.
FLAT = {"ARG": "NE CZ NH1 NH2", "ASN": "CG ND2", "ASP": "CG", "GLN": "CD NE2", "GLU": "CD"}
TURNING = {"CYS": "SG", "SER": "OG", "THR": "OG1", "TYR": "OH"}  # what has a hydrogen without a place of its own
LONGEST_DISULFIDE = 2.5  # angstrom; the ideal is 2.03

TETRAHEDRAL = np.arccos(-1 / 3)
LENGTHS = {"aliphatic": 0.97, "aromatic": 0.93, "amide": 0.86, "ammonium": 0.89}  # angstrom
STAGGERED = (np.pi / 3, np.pi, -np.pi / 3)


@dataclass(frozen=True)
class Hydrogens(OnDevice):
    """Where each hydrogen lies in the frame of heavy atoms.

    parent (hydrogen,) int64 row of the atom arrays; neighbours (hydrogen, 3) int64 rows of a, b, c; weight_c
    (hydrogen,) 0 where there is no c (its row is then the parent's); torsion (hydrogen,) bool; local (hydrogen, 3)
    angstrom.
    Without a torsion a, b and c are bonded to the parent: the first axis points away from them all, the third across
    the plane of a and b. With one, a alone is, and b is bonded to a: the first axis points away from a, the second away
    from b.
    """

    parent: Tensor
    neighbours: Tensor
    weight_c: Tensor
    torsion: Tensor
    local: Tensor


def place_hydrogens(positions_xyz: Tensor, hydrogens: Hydrogens) -> Tensor:
    """Hydrogen positions in angstrom, differentiable: (batch, atom, 3) -> (batch, hydrogen, 3)."""
    a, b, c = hydrogens.neighbours.T
    parent = positions_xyz[:, hydrogens.parent]
    to_a = _unit(positions_xyz[:, a] - parent)
    # of a torsion the second vector starts at a, else at the parent
    start = torch.where(hydrogens.torsion, a, hydrogens.parent)
    to_b = _unit(positions_xyz[:, b] - positions_xyz[:, start])
    to_c = _unit(positions_xyz[:, c] - parent) * hydrogens.weight_c.to(positions_xyz.dtype)[:, None]
    torsion = hydrogens.torsion[:, None]
    first = -_unit(torch.where(torsion, to_a, to_a + to_b + to_c))
    third = _unit(torch.linalg.cross(to_a, to_b))
    second = torch.linalg.cross(third, first)
    local = hydrogens.local.to(positions_xyz.dtype)
    return parent + local[:, :1] * first + local[:, 1:2] * second + local[:, 2:] * third


def _unit(vector: Tensor) -> Tensor:
    # the tiny offset keeps the gradient finite where two atoms coincide or three lie on a line
    return vector * (vector.square().sum(-1, keepdim=True) + 1e-12).rsqrt()


def riding_hydrogens(model: AtomicModel) -> Hydrogens:
    """The hydrogens of a model whose frames are there; its positions only tell which residues are bonded."""
    rows = _named_rows(model)
    parents, neighbours, weights, torsions, local = [], [], [], [], []
    for kind in np.unique(model.residue_type):
        residues = np.flatnonzero(model.residue_type == kind)
        for site in _sites(RESIDUE_TYPES[int(kind)]):
            frame = np.stack([rows[residues, _COLUMN[name]] for name in (site.parent, *site.frame)], axis=1)
            frame = frame[(frame >= 0).all(axis=1)]
            for place in site.local:
                parents.append(frame[:, 0])
                third = frame[:, 3] if len(site.frame) == 3 else frame[:, 0]
                neighbours.append(np.stack([frame[:, 1], frame[:, 2], third], axis=1))
                weights.append(np.full(len(frame), float(len(site.frame) == 3)))
                torsions.append(np.full(len(frame), site.torsion))
                local.append(np.broadcast_to(place, (len(frame), 3)))
    if not parents:
        parents, weights, torsions = [np.empty(0, int)], [np.empty(0)], [np.empty(0, bool)]
        neighbours, local = [np.empty((0, 3), int)], [np.empty((0, 3))]
    parent = np.concatenate(parents)
    order = np.argsort(parent, kind="stable")
    tables = (each[order] for each in map(np.concatenate, (parents, neighbours, weights, torsions, local)))
    return Hydrogens(*(torch.from_numpy(np.ascontiguousarray(each)) for each in tables))


def heavy_bonds(model: AtomicModel) -> np.ndarray:
    """(bond, 2) int64 rows of the atom arrays: within residues, peptide bonds, and disulfides by their length."""
    rows = _named_rows(model)
    bonds = []
    for kind in np.unique(model.residue_type):
        residues = np.flatnonzero(model.residue_type == kind)
        for first, second in _paths(RESIDUE_TYPES[int(kind)]):
            bonds.append(rows[residues][:, [_COLUMN[first], _COLUMN[second]]])
    bonds.append(rows[:, [_COLUMN["N"], _COLUMN["-C"]]])
    table = np.concatenate(bonds)
    sulphurs = np.flatnonzero(model.atom_name == ATOM_NAMES.index("SG"))
    near = cKDTree(model.positions_xyz[sulphurs]).query_pairs(LONGEST_DISULFIDE, output_type="ndarray")
    return np.concatenate([table[(table >= 0).all(axis=1)], sulphurs[near]])


def known_atoms(model: AtomicModel) -> np.ndarray:
    """(atom,) bool: whether an atom's bonds are known, that is whether its residue type has an atom of its name."""
    known = np.zeros((len(RESIDUE_TYPES), len(ATOM_NAMES)), dtype=bool)
    for kind, name in enumerate(RESIDUE_TYPES):
        known[kind, [ATOM_NAMES.index(atom) for bond in _paths(name) for atom in bond]] = True
    return known[model.residue_type[model.residue_index], model.atom_name]


_COLUMN = {name: column for column, name in enumerate([*ATOM_NAMES, "-C"])}


def _named_rows(model: AtomicModel) -> np.ndarray:
    """(residue, name) row of the atom of each of ATOM_NAMES, then of the C before (`-C`); -1 where there is none."""
    rows = np.full((model.n_residues, len(_COLUMN)), -1, dtype=np.int64)
    rows[model.residue_index, model.atom_name] = np.arange(model.n_atoms)
    rows[:, _COLUMN["OTHER"]] = -1
    bonded = np.flatnonzero(bonded_to_next(model))
    rows[bonded + 1, _COLUMN["-C"]] = rows[bonded, _COLUMN["C"]]
    return rows


def _paths(residue: str) -> list[tuple[str, str]]:
    """The bonds of one residue type, by atom names."""
    paths = [path.split() for path in f"{BACKBONE_PATHS}, {SIDE_CHAIN_PATHS[residue]}".split(",")]
    return [bond for path in paths for bond in pairwise(path)]


@dataclass(frozen=True)
class _Site:
    """An atom with hydrogens: the names of its frame and the place of each hydrogen in it, as in Hydrogens."""

    parent: str
    frame: tuple[str, ...]
    torsion: bool
    local: list[np.ndarray]


def _sites(residue: str) -> Iterator[_Site]:
    """The atoms of a residue type that carry riding hydrogens."""
    bonds = [*_paths(residue), ("-C", "N")]
    neighbours = {name: [a if b == name else b for a, b in bonds if name in (a, b)] for bond in bonds for name in bond}
    flat = {"N", *RINGS.get(residue, "").split(), *FLAT.get(residue, "").split()}
    for parent, around in neighbours.items():
        # what else an UNK's CB is bonded to is not known
        if parent in ("C", "-C") or parent[0] in "OS" or (residue, parent) == ("UNK", "CB"):
            continue
        missing = (3 if parent in flat else 4) - len(around)
        if missing == 0:
            continue
        if parent[0] == "C":
            length = LENGTHS["aromatic" if parent in flat else "aliphatic"]
        else:
            length = LENGTHS["amide" if parent in flat else "ammonium"]
        if len(around) == 1:
            angle, torsions = (2 * np.pi / 3, (0.0, np.pi)) if parent in flat else (TETRAHEDRAL, STAGGERED)
            local = [_turned(angle, torsion) for torsion in torsions]
            beyond = next(name for name in neighbours[around[0]] if name != parent)
            yield _Site(parent, (around[0], beyond), True, [length * place for place in local])
        elif missing == 2:
            up, out = np.cos(TETRAHEDRAL / 2), np.sin(TETRAHEDRAL / 2)
            yield _Site(parent, tuple(around), False, [length * np.array([up, 0.0, side]) for side in (out, -out)])
        else:
            yield _Site(parent, tuple(around), False, [length * np.array([1.0, 0.0, 0.0])])


def _turned(angle: float, torsion: float) -> np.ndarray:
    """Unit vector to an atom at an angle (a, parent, atom) and a torsion (b, a, parent, atom), in radians."""
    return np.array([-np.cos(angle), -np.sin(angle) * np.cos(torsion), np.sin(angle) * np.sin(torsion)])
