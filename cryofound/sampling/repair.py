"""Stereochemistry of samples: the nearest sound model under the project's own physics terms, all samples at once.

Least mean over residues of the stereochemical terms (physics/stereochemistry.py) + the mean squared movement times its
weight, by L-BFGS. Bonds are as stiff as neighbours are many, so gradients are preconditioned by the graph of bonds and
angles (Packwood et al. 2016, doi:10.1063/1.4947024), which is factorised once for all samples of a molecule. Copies
that symmetry ties are placed by its operators from the atoms of the first of them, and so stay alike to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from cryofound.config import RepairConfig, StereochemistryConfig
from cryofound.physics.neighbours import PairList
from cryofound.physics.stereochemistry import Stereochemistry, stereochemistry, stereochemistry_loss
from cryofound.sampling.descent import descend
from cryofound.sampling.mates import Mates
from cryofound.sampling.validity import Soundness, soundness
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.symmetry import Symmetry

# stiffness of bonds, of angles and of an atom by itself, relative to one another
BOND, ANGLE, ALONE = 1.0, 0.1, 0.3
FIRST, LONGEST = 0.02, 0.6  # angstrom that an atom moves in the first step, and in any
ROUND = 8  # evaluations after which samples are looked at
# Where a sample is done: share of outliers, and clashes beyond the reference's.
WANTED_OUTLIERS, WANTED_CLASHES = 0.004, 3.0
STRONGER, STRONGEST = 2.0, 64.0  # factor of the Ramachandran term from one round to the next, and of all rounds


@dataclass(frozen=True)
class RepairTables:
    """What repair knows of a molecule: the terms' tables, how sound the reference is, the copies, the bonds' graph."""

    terms: Stereochemistry
    reference: Soundness
    mates: Mates | None
    graph: SuperLU

    def precondition(self, gradient: Tensor) -> Tensor:
        """Gradients (batch, unique atom, 3) smoothed along the graph of bonds and angles."""
        batch, atoms, _ = gradient.shape
        columns = gradient.transpose(0, 1).reshape(atoms, -1).double().numpy()
        smooth = torch.from_numpy(self.graph.solve(columns)).to(gradient.dtype)
        return smooth.view(atoms, batch, 3).transpose(0, 1).contiguous()


def repair_tables(reference: AtomicModel, symmetry: Symmetry | None = None) -> RepairTables:
    """The tables of a molecule; `symmetry` ties its copies, without it they move on their own."""
    terms = stereochemistry(reference)
    mates = None if symmetry is None else Mates.of(symmetry)
    unit = np.arange(reference.n_atoms) if mates is None else mates.unit.numpy()
    own = torch.from_numpy(np.ascontiguousarray(reference.positions_xyz, dtype=np.float32))[None]
    return RepairTables(terms, soundness(own, terms), mates, splu(_graph(terms, unit)))


def repair(samples_xyz: np.ndarray, tables: RepairTables, config: RepairConfig) -> tuple[np.ndarray, np.ndarray]:
    """Repaired samples (sample, atom, 3) float32 angstrom, and how far each went, (sample,) angstrom RMS over atoms.

    Samples with symmetry mates begin with all copies as the first. One that is sound after ROUND evaluations goes no
    further; for the others torsions weigh more in the next ones. With no iterations they stay as they are.
    """
    decoded = torch.from_numpy(np.ascontiguousarray(samples_xyz, dtype=np.float32))
    if config.iterations == 0:
        return decoded.numpy(), np.zeros(len(decoded), dtype=np.float32)
    mates = tables.mates
    start = decoded if mates is None else decoded[:, mates.unique]
    home = decoded if mates is None else mates.all_atoms(start)
    found, open_rows, nearby = start.clone(), torch.arange(len(start)), PairList()
    for number, done in enumerate(range(0, config.iterations, ROUND)):
        weight = min(STRONGER**number, STRONGEST) * config.stereochemistry.ramachandran
        terms = config.stereochemistry.model_copy(update={"ramachandran": weight})
        evaluations = min(ROUND, config.iterations - done)
        energy = _energy(home[open_rows], tables, terms, config.movement_weight, nearby)
        found[open_rows] = descend(
            found[open_rows], energy, evaluations, tables.precondition, first=FIRST, longest=LONGEST
        )
        unsound = ~_sound(_whole(found[open_rows], mates), tables)
        open_rows, nearby = open_rows[unsound], nearby.of(unsound.tolist())
        if not len(open_rows):
            break
    repaired = _whole(found, mates)
    moved = (repaired - home).square().sum(-1).mean(1).sqrt()
    return repaired.numpy(), moved.numpy()


def _energy(
    home: Tensor, tables: RepairTables, weights: StereochemistryConfig, movement_weight: float, nearby: PairList
) -> Callable[[Tensor], Tensor]:
    """What is least where unique atoms (sample, unit, 3) are sound and near home (sample, atom, 3)."""

    def energy(unique_xyz: Tensor) -> Tensor:
        positions = _whole(unique_xyz, tables.mates)
        movement = (positions - home).square().sum(-1).mean(1)
        return stereochemistry_loss(positions, tables.terms, weights, nearby) + movement_weight * movement

    return energy


def _whole(unique_xyz: Tensor, mates: Mates | None) -> Tensor:
    return unique_xyz if mates is None else mates.all_atoms(unique_xyz)


def _sound(positions_xyz: Tensor, tables: RepairTables) -> Tensor:
    own, reference = soundness(positions_xyz, tables.terms), tables.reference
    outliers = own.outliers <= max(float(reference.outliers[0]), WANTED_OUTLIERS)
    return torch.from_numpy(outliers & (own.clashes <= reference.clashes[0] + WANTED_CLASHES))


def _graph(terms: Stereochemistry, unit: np.ndarray):
    """Sparse (unit, unit) float64: the Laplacian of bonds and of the ends of angles, and what holds single atoms."""
    bonds, angles = (each.index.numpy() for each in (terms.restraints.bonds, terms.restraints.angles))
    ends = unit[np.concatenate([bonds, angles[:, [0, 2]]])]
    stiffness = np.repeat([BOND, ANGLE], [len(bonds), len(angles)])
    atoms = int(unit.max()) + 1
    one_way = coo_array((stiffness, (ends[:, 0], ends[:, 1])), shape=(atoms, atoms))
    links = (one_way + one_way.T).tocsc()
    alone = ALONE * np.bincount(unit, minlength=atoms)
    return (diags_array(np.asarray(links.sum(1)).ravel() + alone) - links).tocsc()
