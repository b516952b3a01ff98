"""Stereochemistry of samples: the nearest model with sound bonds, angles and Ramachandran angles.

Minimises, over the atoms, mean squared movement + bond, peptide and residue distances kept at the reference's + the
Ramachandran excess, each with its weight relative to one squared angstrom of movement.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cryofound.config import RepairConfig
from cryofound.physics.geometry import (
    DistancePairs,
    bond_pairs,
    bonded_to_next,
    distance_loss,
    peptide_pairs,
    residue_pairs,
)
from cryofound.physics.ramachandran import RamachandranResidues, ramachandran_excess, ramachandran_residues
from cryofound.structure.atomic_model import AtomicModel


def repair(reference: AtomicModel, samples_xyz: np.ndarray, config: RepairConfig) -> np.ndarray:
    """Repair samples (sample, atom, 3) float32 angstrom of one molecule; returns the same shape.

    A residue that the reference has as a Ramachandran outlier is not asked to be better than there.
    """
    if config.iterations == 0:
        return samples_xyz
    distances = (
        (config.bond_weight, bond_pairs(reference)),
        (config.peptide_weight, peptide_pairs(reference)),
        (config.residue_weight, residue_pairs(reference)),
    )
    residues = ramachandran_residues(reference, bonded_to_next(reference))
    home = torch.from_numpy(np.ascontiguousarray(reference.positions_xyz, dtype=np.float32))[None]
    accepted = ramachandran_excess(home, residues, config.ramachandran_margin)
    repaired = [_relax(torch.from_numpy(sample)[None], distances, residues, accepted, config) for sample in samples_xyz]
    return np.concatenate([each.numpy() for each in repaired])


def _relax(
    sample: Tensor,
    distances: Sequence[tuple[float, DistancePairs]],
    residues: RamachandranResidues,
    accepted: Tensor,
    config: RepairConfig,
) -> Tensor:
    """One sample (1, atom, 3) relaxed; accepted (1, residue) degrees of Ramachandran excess that are left alone."""
    positions = sample.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([positions], max_iter=config.iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (positions - sample).square().sum(-1).mean()
        for weight, pairs in distances:
            loss = loss + weight * distance_loss(positions, pairs).sum()
        if len(residues.kind):
            excess = ramachandran_excess(positions, residues, config.ramachandran_margin) - accepted
            loss = loss + config.ramachandran_weight * excess.clamp_min(0).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return positions.detach()
