"""Bonds, angles and volumes that hold a protein's covalent geometry at ideal values, whatever the reference's are.

The ideal values ship with the package (see `restraint_table`). A volume is that of four atoms: its sign is the hand of
a chiral centre, and zero keeps planar centres, rings and other groups flat.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryofound.physics.on_device import OnDevice
from cryofound.physics.restraint_table import atom_table, ideal_values, members, rows_of
from cryofound.structure.atomic_model import AtomicModel

# Keeps gradients finite where atoms coincide; changes a bond by less than 1e-6 A.
_OFFSET = 1e-6


@dataclass(frozen=True)
class RestraintRows(OnDevice):
    """Restraints of one kind: pairs (bonds, angstrom), triples (angles, degrees) or quadruples (volumes, angstrom^3).

    index (row, 2 | 3 | 4) int64 rows of the atom arrays; target and sigma (row,) float64 in the kind's unit;
    residue (row,) int64, that of the first atom.
    """

    index: Tensor
    target: Tensor
    sigma: Tensor
    residue: Tensor


@dataclass(frozen=True)
class Restraints(OnDevice):
    """All covalent restraints of a model."""

    bonds: RestraintRows
    angles: RestraintRows
    volumes: RestraintRows


def restraint_rows(model: AtomicModel) -> Restraints:
    """Restraints of a model from the shipped table: within residues, across peptide bonds and across disulfides.

    The model's positions say which residues are bonded (`bonded_to_next`), which prolines are cis and which SG form a
    disulfide; nothing else depends on them. Rows with a missing atom are left out.
    """
    table, values = atom_table(model), ideal_values()
    found: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {2: [], 3: [], 4: []}
    for group, first, second in members(model):
        for row, (ideal, sigma, _) in values[group].items():
            index = rows_of(table, row.split(), first, second)
            index = index[(index >= 0).all(1)]
            found[index.shape[1]].append((index, np.full(len(index), ideal), np.full(len(index), sigma)))
    return Restraints(*(_sorted_rows(model, found[size], size) for size in (2, 3, 4)))


def restraint_deviation(positions_xyz: Tensor, rows: RestraintRows) -> Tensor:
    """What is, less what should be, in the unit of the rows' kind: (batch, atom, 3) -> (batch, row)."""
    return _VALUES[rows.index.shape[1]](positions_xyz, rows.index) - rows.target.to(positions_xyz.dtype)


def restraint_term(positions_xyz: Tensor, rows: RestraintRows) -> Tensor:
    """Squared deviation of each row in units of its sigma: (batch, atom, 3) -> (batch, row)."""
    return (restraint_deviation(positions_xyz, rows) / rows.sigma.to(positions_xyz.dtype)).square()


def restraint_rms(positions_xyz: Tensor, rows: RestraintRows) -> Tensor:
    """Root mean square deviation, as validation programs report it: (batch, atom, 3) -> (batch,)."""
    return restraint_deviation(positions_xyz, rows).square().mean(1).sqrt()


def wrong_hands(positions_xyz: Tensor, volumes: RestraintRows) -> Tensor:
    """Chiral centres with the sign of their mirror image: (batch, atom, 3) -> (batch, row) bool."""
    target = volumes.target.to(positions_xyz.dtype)
    return (restraint_deviation(positions_xyz, volumes) + target) * target < 0


def residue_sums(values: Tensor, residue: Tensor, n_residues: int) -> Tensor:
    """Sums of values (batch, row) over the rows of each residue (row,): (batch, residue)."""
    return values.new_zeros(len(values), n_residues).index_add(1, residue, values)


def bond_lengths(positions_xyz: Tensor, index: Tensor) -> Tensor:
    """Distances, angstrom: (batch, atom, 3), index (row, 2) -> (batch, row)."""
    first, second = (positions_xyz[:, column] for column in index.T)
    return ((first - second).square().sum(-1) + _OFFSET).sqrt()


def bond_angles(positions_xyz: Tensor, index: Tensor) -> Tensor:
    """Angles at the second of three atoms, degrees 0 to 180: (batch, atom, 3), index (row, 3) -> (batch, row)."""
    first, centre, last = (positions_xyz[:, column] for column in index.T)
    one, other = first - centre, last - centre
    lengths = ((one.square().sum(-1) + _OFFSET) * (other.square().sum(-1) + _OFFSET)).sqrt()
    # three atoms in line have no gradient; 0.08 degrees from there it is still finite
    return ((one * other).sum(-1) / lengths).clamp(_OFFSET - 1, 1 - _OFFSET).acos().rad2deg()


def volumes(positions_xyz: Tensor, index: Tensor) -> Tensor:
    """Signed volumes (b - a) . ((c - a) x (d - a)), angstrom^3: (batch, atom, 3), index (row, 4) -> (batch, row)."""
    centre, *others = (positions_xyz[:, column] for column in index.T)
    one, two, three = (other - centre for other in others)
    return (one * torch.linalg.cross(two, three)).sum(-1)


_VALUES = {2: bond_lengths, 3: bond_angles, 4: volumes}


def _sorted_rows(
    model: AtomicModel, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], size: int
) -> RestraintRows:
    """One kind's rows in the order of their first atom, so that neighbours in memory are read together."""
    empty = (np.empty((0, size), dtype=np.int64), np.empty(0), np.empty(0))
    index, target, sigma = (np.concatenate(each) for each in zip(empty, *parts, strict=True))
    order = np.argsort(index[:, 0], kind="stable")
    residue = model.residue_index[index[order, 0]].astype(np.int64)
    return RestraintRows(*(torch.from_numpy(part) for part in (index[order], target[order], sigma[order], residue)))
