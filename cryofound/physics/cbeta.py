"""C-beta deviation: how far CB lies from where the backbone of its residue says it should be.

The measure of Lovell et al. 2003 (doi:10.1002/prot.10286) with the ideal angles of MolProbity's cbetadev: CB is placed
from N-C-CA and from C-N-CA, the two places are averaged and set at the ideal bond length.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryofound.physics.on_device import OnDevice
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES, AtomicModel

OUTLIER = 0.25  # angstrom
# CA-CB (angstrom), angle C-CA-CB, torsion N-C-CA-CB, angle N-CA-CB, torsion C-N-CA-CB (degrees)
_GENERAL = (1.530, 110.1, 122.8, 110.5, -122.6)
_BRANCHED = (1.540, 109.1, 123.4, 111.5, -122.0)
_IDEAL = {
    "ALA": (1.536, 110.1, 122.9, 110.6, -122.6),
    "PRO": (1.530, 112.2, 115.1, 103.0, -120.7),
    "ILE": _BRANCHED,
    "THR": _BRANCHED,
    "VAL": _BRANCHED,
}


@dataclass(frozen=True)
class CBetas(OnDevice):
    """Residues with a CB: atoms (cbeta, 4) int64 rows of N, CA, C, CB; ideal (cbeta, 5) float64; residue (cbeta,)."""

    atoms: Tensor
    ideal: Tensor
    residue: Tensor


def cbetas(model: AtomicModel) -> CBetas:
    """The CB atoms of all residues but GLY, with the ideal values of the residue's type."""
    rows = np.flatnonzero(model.atom_name == ATOM_NAMES.index("CB"))
    rows = rows[model.residue_type[model.residue_index[rows]] != RESIDUE_TYPES.index("GLY")]
    residue = model.residue_index[rows]
    ideal = np.array([_IDEAL.get(name, _GENERAL) for name in RESIDUE_TYPES])[model.residue_type[residue]]
    atoms = np.column_stack([model.backbone_index()[residue, :3], rows])
    return CBetas(torch.from_numpy(atoms), torch.from_numpy(ideal), torch.from_numpy(residue))


def ideal_cbeta(positions_xyz: Tensor, cbetas: CBetas) -> Tensor:
    """Where each CB should be, angstrom: (batch, atom, 3) -> (batch, cbeta, 3)."""
    n, ca, c = (positions_xyz[:, column] for column in cbetas.atoms[:, :3].T)
    length, angle_c, torsion_n, angle_n, torsion_c = cbetas.ideal.to(positions_xyz.dtype).T
    place = _direction(n, c, ca, angle_c, torsion_n) + _direction(c, n, ca, angle_n, torsion_c)
    return ca + length[:, None] * _unit(place)


def cbeta_deviation(positions_xyz: Tensor, cbetas: CBetas) -> Tensor:
    """Distance of each CB from its ideal place, angstrom: (batch, atom, 3) -> (batch, cbeta)."""
    departure = positions_xyz[:, cbetas.atoms[:, 3]] - ideal_cbeta(positions_xyz, cbetas)
    # the offset keeps the gradient finite at the ideal place
    return (departure.square().sum(-1) + 1e-8).sqrt()


def _direction(a: Tensor, b: Tensor, c: Tensor, angle: Tensor, torsion: Tensor) -> Tensor:
    """Unit vectors from c to an atom d with angle b-c-d and torsion a-b-c-d (degrees): (batch, cbeta, 3)."""
    angle, torsion = angle.deg2rad()[:, None], torsion.deg2rad()[:, None]
    along = _unit(c - b)
    normal = _unit(torch.linalg.cross(b - a, along))
    across = torch.linalg.cross(normal, along)
    return -angle.cos() * along + angle.sin() * (torsion.cos() * across + torsion.sin() * normal)


def _unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().sum(-1, keepdim=True) + 1e-8).sqrt()
