"""Whether a sample can be a protein: torsions, clashes, bonds and how far repair had to go, beside its reference."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryofound.config import RepairConfig, ValidityConfig
from cryofound.physics.clashes import clash_score
from cryofound.physics.ramachandran import ramachandran_distance
from cryofound.physics.restraints import restraint_rms, wrong_hands
from cryofound.physics.stereochemistry import Stereochemistry


@dataclass(frozen=True)
class Soundness:
    """Of models (model,) float32 each: share of Ramachandran outliers, clashes per 1000 atoms as of `clash_score`.

    bond_rms: angstrom from ideal lengths; mirrored: number of chiral centres of the wrong hand.
    """

    outliers: np.ndarray
    clashes: np.ndarray
    bond_rms: np.ndarray
    mirrored: np.ndarray


@torch.no_grad()
def soundness(positions_xyz: Tensor, tables: Stereochemistry) -> Soundness:
    """Of models (model, atom, 3) angstrom; raises ValueError if a position is not finite."""
    outside = ramachandran_distance(positions_xyz, tables.ramachandran) > 0
    restraints = tables.restraints
    figures = (
        outside.sum(1) / max(outside.shape[1], 1),
        clash_score(positions_xyz, tables.clashes),
        restraint_rms(positions_xyz, restraints.bonds),
        wrong_hands(positions_xyz, restraints.volumes).sum(1),
    )
    return Soundness(*(each.float().numpy() for each in figures))


def faults(
    own: Soundness, reference: Soundness, moved: np.ndarray, repair: RepairConfig, validity: ValidityConfig
) -> dict[str, np.ndarray]:
    """What is wrong with which models, (model,) bool each; reference is that of one model, moved (model,) angstrom."""
    return {
        "moved too far in repair": moved > repair.most_movement,
        "Ramachandran outliers": own.outliers > reference.outliers[0] + validity.ramachandran_outliers,
        "clashes": own.clashes > reference.clashes[0] + validity.clashes,
        "bonds": own.bond_rms > max(float(reference.bond_rms[0]), validity.bond_rms),
        "mirrored residues": own.mirrored > reference.mirrored[0],
    }


def told(reasons: Counter[str]) -> str:
    """Counts of faults as words, the most frequent first."""
    return ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
