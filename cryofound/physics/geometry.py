"""Distance losses that keep a displaced model's local geometry at its reference's.

L_backbone: over windows of five residues, all pairs of the 20 backbone atoms (N, CA, C, O): mean squared difference of
the distances (CryoSampler, arXiv 2605.09832). L_residue (workshop paper): the same over all atom pairs of a residue.
A pair that several windows share is kept once with its count: the same value for a quarter of the work.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from cryofound.physics.on_device import OnDevice
from cryofound.structure.atomic_model import AtomicModel

WINDOW = 5
# A longer C-N in the reference is a gap in the chain, not a peptide bond (the ideal is 1.33 A).
LONGEST_PEPTIDE_BOND = 2.0


@dataclass(frozen=True)
class DistancePairs(OnDevice):
    """Distances to keep.

    index (2, pair) rows of the atom arrays; weight (pair,) summing to 1; distance (pair,) angstrom in the reference.
    """

    index: Tensor
    weight: Tensor
    distance: Tensor


def backbone_pairs(model: AtomicModel, window: int = WINDOW) -> DistancePairs:
    """Merged backbone pairs of all windows of consecutive residues of a chain without a break."""
    backbone = model.backbone_index()
    counts: Counter[tuple[int, int]] = Counter()
    bonded = bonded_to_next(model)
    for first in range(model.n_residues - window + 1):
        if bonded[first : first + window - 1].all():
            counts.update(combinations(sorted(backbone[first : first + window].ravel().tolist()), 2))
    return _pairs(model, counts)


def residue_pairs(model: AtomicModel) -> DistancePairs:
    """All atom pairs within each residue."""
    counts: Counter[tuple[int, int]] = Counter()
    for residue in range(model.n_residues):
        counts.update(combinations(np.flatnonzero(model.residue_index == residue).tolist(), 2))
    return _pairs(model, counts)


def peptide_pairs(model: AtomicModel) -> DistancePairs:
    """Pairs one and two bonds apart across each peptide bond: C-N, CA-N, O-N, C-CA.

    With residues kept rigid, they hold the chain together without resisting a bend of it, as L_backbone does.
    """
    backbone = model.backbone_index()
    counts: Counter[tuple[int, int]] = Counter()
    for residue in np.flatnonzero(bonded_to_next(model)):
        _, alpha, carbon, oxygen = (int(row) for row in backbone[residue])
        nitrogen, next_alpha = (int(row) for row in backbone[residue + 1, :2])
        pairs = ((carbon, nitrogen), (alpha, nitrogen), (oxygen, nitrogen), (carbon, next_alpha))
        counts.update((min(pair), max(pair)) for pair in pairs)
    return _pairs(model, counts)


def bond_pairs(model: AtomicModel) -> DistancePairs:
    """The two atoms of each of the `backbone_bonds`, equally weighted."""
    return _pairs(model, Counter((min(bond), max(bond)) for bond in backbone_bonds(model).tolist()))


def distance_loss(positions_xyz: Tensor, pairs: DistancePairs) -> Tensor:
    """Weighted mean squared difference of distances to the reference's, angstrom^2: (batch, atom, 3) -> (batch,)."""
    first, second = pairs.index
    vector = positions_xyz[:, first] - positions_xyz[:, second]
    # the tiny offset keeps the gradient finite where two atoms coincide
    distance = (vector.square().sum(-1) + 1e-8).sqrt()
    return ((distance - pairs.distance).square() * pairs.weight).sum(1)


def turning_loss(displacement: Tensor, residue_index: Tensor, atom_mask: Tensor) -> Tensor:
    """Mean squared departure of each atom from the mean displacement of its residue, angstrom^2.

    displacement (batch, atom, 3), residue_index (batch, atom), atom_mask (batch, atom) -> (batch,). Zero where residues
    shift without turning or bending, as in the linear normal-mode states of the calmodulin benchmark.
    """
    batch, atoms = residue_index.shape
    mask = atom_mask.to(displacement.dtype)
    residues = int(residue_index.max()) + 1
    index = residue_index + torch.arange(batch, device=residue_index.device)[:, None] * residues
    counts = mask.new_zeros(batch * residues).index_add(0, index.flatten(), mask.flatten())
    sums = displacement.new_zeros(batch * residues, 3)
    sums = sums.index_add(0, index.flatten(), (displacement * mask[..., None]).flatten(0, 1))
    departure = displacement - (sums / counts.clamp_min(1)[:, None])[index.flatten()].view(batch, atoms, 3)
    return (departure.square().sum(-1) * mask).sum(1) / mask.sum(1)


def backbone_bonds(model: AtomicModel) -> np.ndarray:
    """(bond, 2) int64 rows of the atom arrays: all N-CA, CA-C and C-O bonds, then C-N between bonded residues."""
    n, ca, c, o = model.backbone_index().T
    within = np.concatenate([np.stack(pair, axis=1) for pair in ((n, ca), (ca, c), (c, o))])
    peptide = np.stack([c[:-1], n[1:]], axis=1)
    return np.concatenate([within, peptide[bonded_to_next(model)]])


def bonded_to_next(model: AtomicModel) -> np.ndarray:
    """(residue - 1,) bool: C of a residue and N of the next are of one chain and nearer than LONGEST_PEPTIDE_BOND."""
    backbone = model.backbone_index()
    gap = np.linalg.norm(model.positions_xyz[backbone[1:, 0]] - model.positions_xyz[backbone[:-1, 2]], axis=1)
    return (gap < LONGEST_PEPTIDE_BOND) & (model.chain_id[1:] == model.chain_id[:-1])


def _pairs(model: AtomicModel, counts: Counter[tuple[int, int]]) -> DistancePairs:
    index = np.array(sorted(counts), dtype=np.int64).reshape(-1, 2)
    weight = np.array([counts[int(a), int(b)] for a, b in index], dtype=np.float64)
    distance = np.linalg.norm(model.positions_xyz[index[:, 0]] - model.positions_xyz[index[:, 1]], axis=1)
    return DistancePairs(
        torch.from_numpy(index.T.copy()),
        torch.from_numpy(weight / max(weight.sum(), 1.0)).float(),
        torch.from_numpy(distance).float(),
    )
