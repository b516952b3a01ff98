"""A differentiable Ramachandran term: how far outside the allowed region a residue's (phi, psi) lies.

The allowed regions are those of MolProbity's Top8000 distributions (Williams 2018, doi:10.1002/pro.3330): all six
classes, with the limits of ramalyze. From them `derive_table` makes, per class, the signed angular distance to the edge
of the allowed region on a 2 degree grid. Unlike the percentiles themselves, which are flat zero over most of the plane,
the distance tells an outlier which way home is. The derived table ships with the package.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from cryofound.errors import SourceError
from cryofound.structure.atomic_model import RESIDUE_TYPES, AtomicModel

CLASSES = ("general", "glycine", "cis_proline", "trans_proline", "pre_proline", "isoleucine_valine")
SPACING = 2.0  # degrees
SIZE = 180
_FILES = ("general-noGPIVpreP", "gly-sym", "cispro", "transpro", "prepro-noGP", "ileval-nopreP")
_ALLOWED = (0.0005, 0.001, 0.002, 0.001, 0.001, 0.001)  # least percentile that is no outlier


@dataclass(frozen=True)
class RamachandranResidues:
    """Residues with both neighbours bonded.

    atoms (residue, 5) rows of C of the residue before, N, CA, C, N of the one after; kind (residue,) row of CLASSES.
    """

    atoms: Tensor
    kind: Tensor


def ramachandran_residues(model: AtomicModel, bonded: np.ndarray) -> RamachandranResidues:
    """The residues of a model that have a phi and a psi; bonded (residue - 1,) says which are bonded to the next."""
    backbone = model.backbone_index()
    inner = np.flatnonzero(bonded[:-1] & bonded[1:]) + 1
    carbon, nitrogen = backbone[inner - 1, 2], backbone[inner + 1, 0]
    atoms = np.column_stack([carbon, backbone[inner, :3], nitrogen])
    omega_atoms = torch.from_numpy(np.column_stack([backbone[inner - 1, 1], carbon, backbone[inner, :2]]))
    cis = dihedral(torch.from_numpy(model.positions_xyz)[None], omega_atoms)[0].abs().numpy() < np.pi / 2
    name = np.array(RESIDUE_TYPES)[model.residue_type]
    here, following = name[inner], name[inner + 1]
    kind = np.select(
        [here == "GLY", (here == "PRO") & cis, here == "PRO", following == "PRO", np.isin(here, ("ILE", "VAL"))],
        [1, 2, 3, 4, 5],
        0,
    )
    return RamachandranResidues(torch.from_numpy(atoms), torch.from_numpy(kind))


def ramachandran_excess(positions_xyz: Tensor, residues: RamachandranResidues, margin: float = 0.0) -> Tensor:
    """Angular distance (degrees, >= 0) of each residue beyond `margin` degrees inside the edge of its allowed region.

    positions_xyz (batch, atom, 3) -> (batch, residue); zero for residues well inside. Differentiable.
    """
    phi = dihedral(positions_xyz, residues.atoms[:, :4])
    psi = dihedral(positions_xyz, residues.atoms[:, 1:])
    table = allowed_distance().to(device=positions_xyz.device, dtype=positions_xyz.dtype)
    # table points lie at -179, -177 ... degrees
    x, y = ((angle.rad2deg() + 179.0) / SPACING for angle in (phi, psi))
    x_low, y_low = x.floor(), y.floor()
    value = torch.zeros_like(x)
    for step_x in (0, 1):
        for step_y in (0, 1):
            share_x = x - x_low if step_x else 1 - (x - x_low)
            share_y = y - y_low if step_y else 1 - (y - y_low)
            rows = table[residues.kind, (x_low.long() + step_x) % SIZE, (y_low.long() + step_y) % SIZE]
            value = value + share_x * share_y * rows
    return (value + margin).clamp_min(0)


def dihedral(positions_xyz: Tensor, atoms: Tensor) -> Tensor:
    """Torsion angles in radians, -pi to pi (IUPAC sign): (batch, atom, 3), rows (torsion, 4) -> (batch, torsion)."""
    a, b, c, d = (positions_xyz[:, atoms[:, column]] for column in range(4))
    axis = c - b
    first = torch.linalg.cross(a - b, axis)
    second = torch.linalg.cross(d - c, axis)
    sine = (torch.linalg.cross(first, second) * axis).sum(-1) / axis.norm(dim=-1)
    return torch.atan2(sine, (first * second).sum(-1))


@cache
def allowed_distance() -> Tensor:
    """(6, 180, 180) float32: signed distance in degrees to the allowed region of each class, negative inside."""
    with files("cryofound.physics").joinpath("tables", "ramachandran.npz").open("rb") as stream:
        return torch.from_numpy(np.load(stream, allow_pickle=False)["distance"].astype(np.float32))


def derive_table(folder: Path) -> np.ndarray:
    """The signed distances, (6, 180, 180) int8 degrees, from the Top8000 percentile grids in `folder`.

    The grids are MolProbity's `rama8000-*.data`. Raises SourceError if one is missing.
    """
    tables = []
    for name, allowed in zip(_FILES, _ALLOWED, strict=True):
        path = Path(folder) / f"rama8000-{name}.data"
        if not path.is_file():
            raise SourceError(
                f"{path}: missing; it is part of MolProbity's reference data (Top8000 Ramachandran grids)"
            )
        phi, psi, percentile = np.loadtxt(path, comments="#").T
        inside = np.zeros((SIZE, SIZE), dtype=bool)
        rows, columns = (np.rint((angle + 179.0) / SPACING).astype(int) % SIZE for angle in (phi, psi))
        inside[rows, columns] = percentile >= allowed
        around = np.tile(inside, (3, 3))  # angles are periodic
        middle = slice(SIZE, 2 * SIZE)
        outside, within = (np.asarray(distance_transform_edt(part))[middle, middle] for part in (~around, around))
        tables.append(np.where(inside, 0.5 - within, outside - 0.5) * SPACING)
    return np.clip(np.rint(np.stack(tables)), -127, 127).astype(np.int8)
