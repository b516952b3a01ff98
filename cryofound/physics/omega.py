"""The omega term: how far each peptide bond is twisted out of its plane.

Trans (180 degrees) or cis (0) is the reference's choice: a fit to a map must not turn one into the other. MolProbity's
omegalyze calls a bond twisted beyond 30 degrees from both (Williams et al. 2018, doi:10.1002/pro.3330).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cryofound.physics.geometry import bonded_to_next
from cryofound.physics.on_device import OnDevice
from cryofound.structure.atomic_model import AtomicModel

TWISTED = 30.0  # degrees from planar
# Degrees: the spread about 180 in atomic-resolution structures (Berkholz et al. 2012, doi:10.1073/pnas.1107115108).
SIGMA = 6.0


@dataclass(frozen=True)
class Peptides(OnDevice):
    """Peptide bonds between consecutive residues.

    atoms (peptide, 4) int64 rows of CA, C, N, CA; cis (peptide,) bool in the reference; residue (peptide,) int64, the
    residue after the bond, to which omegalyze assigns it.
    """

    atoms: Tensor
    cis: Tensor
    residue: Tensor


def peptides(model: AtomicModel) -> Peptides:
    """The peptide bonds of a model, with the state that its positions give them."""
    backbone = model.backbone_index()
    before = np.flatnonzero(bonded_to_next(model))
    atoms = torch.from_numpy(np.column_stack([backbone[before, 1:3], backbone[before + 1, :2]]))
    trans = Peptides(atoms, torch.zeros(len(before), dtype=torch.bool), torch.from_numpy(before + 1))
    from_trans = omega_deviation(torch.from_numpy(model.positions_xyz)[None], trans)[0]
    return replace(trans, cis=from_trans.abs() > 90)


def omega_deviation(positions_xyz: Tensor, peptides: Peptides) -> Tensor:
    """Omega minus 180 (trans in the reference) or 0 (cis), degrees, -180 to 180: (batch, atom, 3) -> (batch, peptide).

    Beyond TWISTED it is an outlier. Where three atoms lie on a line omega has no value: the deviation is then that of
    an angle of 0 and its gradient zero.
    """
    before, carbon, nitrogen, after = (positions_xyz[:, column] for column in peptides.atoms.T)
    axis = nitrogen - carbon
    first = torch.linalg.cross(before - carbon, axis)
    second = torch.linalg.cross(after - nitrogen, axis)
    cosine = (first * second).sum(-1)
    # |axis| times the triple product is |first| |second| sin(omega)
    sine = (axis.square().sum(-1) + 1e-12).sqrt() * ((before - carbon) * second).sum(-1)
    flat = cosine.square() + sine.square() < 1e-12
    sign = torch.where(peptides.cis, 1.0, -1.0).to(positions_xyz.dtype)
    return torch.atan2(sign * torch.where(flat, 0, sine), sign * torch.where(flat, 1, cosine)).rad2deg()


def omega_term(positions_xyz: Tensor, peptides: Peptides) -> Tensor:
    """Squared deviation of each omega in units of SIGMA: (batch, atom, 3) -> (batch, peptide)."""
    return (omega_deviation(positions_xyz, peptides) / SIGMA).square()
