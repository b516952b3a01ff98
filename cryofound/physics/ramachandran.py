"""A differentiable Ramachandran term: how far outside the allowed region a residue's (phi, psi) lies.

The allowed regions are those of MolProbity's Top8000 distributions (Williams 2018, doi:10.1002/pro.3330): all six
classes, with the limits of ramalyze. The percentiles ship with the package, rounded (`derive_table`); the signed
angular distances to the edges of the regions are worked out from them when first needed.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cryofound.physics.dihedrals import dihedral
from cryofound.physics.on_device import OnDevice
from cryofound.physics.torsion_grids import (
    TorsionGrid,
    TorsionTables,
    contour_distance,
    interpolate,
    pack_percentiles,
    read_grid,
    torsion_tables,
    unpack_percentiles,
)
from cryofound.structure.atomic_model import RESIDUE_TYPES, AtomicModel

CLASSES = ("general", "glycine", "cis_proline", "trans_proline", "pre_proline", "isoleucine_valine")
SPACING = 2.0  # degrees between grid points, the first at 1
_FILES = ("general-noGPIVpreP", "gly-sym", "cispro", "transpro", "prepro-noGP", "ileval-nopreP")
Region = Literal["allowed", "favored"]
_LEAST: dict[Region, tuple[float, ...]] = {  # percentile of each class at the edge, as in ramalyze
    "allowed": (0.0005, 0.001, 0.002, 0.001, 0.001, 0.001),
    "favored": (0.02,) * 6,
}


@dataclass(frozen=True)
class RamachandranResidues(OnDevice):
    """Residues with both neighbours bonded.

    atoms (row, 5) int64 rows of C of the residue before, N, CA, C, N of the one after; kind (row,) int64 row of
    CLASSES; residue (row,) int64 row of the model's residue arrays.
    """

    atoms: Tensor
    kind: Tensor
    residue: Tensor


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
    return RamachandranResidues(torch.from_numpy(atoms), torch.from_numpy(kind), torch.from_numpy(inner))


def ramachandran_distance(positions_xyz: Tensor, residues: RamachandranResidues, region: Region = "allowed") -> Tensor:
    """Signed angular distance (degrees) of each residue from the edge of its allowed (favored) region, negative inside.

    positions_xyz (batch, atom, 3) -> (batch, row). Periodic and continuous, bilinear between points 2 degrees apart.
    """
    phi = dihedral(positions_xyz, residues.atoms[:, :4])
    psi = dihedral(positions_xyz, residues.atoms[:, 1:])
    tables = _tables(positions_xyz.device, positions_xyz.dtype, region)
    return interpolate(tables, residues.kind, torch.stack([phi, psi], dim=-1).rad2deg())


def ramachandran_excess(
    positions_xyz: Tensor, residues: RamachandranResidues, margin: float = 0.0, region: Region = "allowed"
) -> Tensor:
    """Angular distance (degrees, >= 0) of each residue beyond `margin` degrees inside the edge of its region.

    positions_xyz (batch, atom, 3) -> (batch, row); zero for residues well inside. Differentiable.
    """
    return (ramachandran_distance(positions_xyz, residues, region) + margin).clamp_min(0)


@cache
def region_distance(region: Region) -> Tensor:
    """(6, 180, 180) float32: signed degrees to the region of each class, at 1, 3 ... 359 degrees."""
    with files("cryofound.physics").joinpath("tables", "ramachandran.npz").open("rb") as stream:
        percentiles = unpack_percentiles(np.load(stream, allow_pickle=False)["percentile"])
    grids = (TorsionGrid(values, (SPACING, SPACING)) for values in percentiles)
    distances = [contour_distance(grid, level) for grid, level in zip(grids, _LEAST[region], strict=True)]
    return torch.from_numpy(np.stack(distances))


def derive_table(folder: Path) -> np.ndarray:
    """The array of tables/ramachandran.npz, (6, 180, 180) uint8, from MolProbity's `rama8000-*.data` grids in `folder`.

    Raises SourceError if a grid is missing.
    """
    return pack_percentiles(np.stack([read_grid(Path(folder) / f"rama8000-{name}.data").values for name in _FILES]))


@cache
def _tables(device: torch.device, dtype: torch.dtype, region: Region) -> TorsionTables:
    step = (SPACING, SPACING)
    return torsion_tables([TorsionGrid(values, step) for values in region_distance(region).numpy()]).to(device, dtype)
