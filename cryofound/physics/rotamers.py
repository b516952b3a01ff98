"""A differentiable rotamer term: how far a side chain's chi angles lie from those that are no outlier.

The distributions are MolProbity's Top8000 rotamers (Hintze et al. 2016, doi:10.1002/prot.25039), with the limits of
rotalyze: below 0.3 % a residue is an outlier, from 2 % it is favoured. The percentiles ship with the package, rounded
(`derive_tables`), and give the class; the signed distances to the 0.3 % contours are worked out from them when first
needed, in about a second. The grids of ARG and LYS are reconstructed from three levels: their contours are approximate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

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
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES, AtomicModel

CLASSES = ("outlier", "allowed", "favored")
ALLOWED, FAVORED = 0.003, 0.02  # least percentile of a class
# Four neighbours in a path make a chi. PRO is judged by its first alone, though only where the ring is whole.
CHI_PATHS = {
    "ARG": "N CA CB CG CD NE CZ", "ASN": "N CA CB CG OD1", "ASP": "N CA CB CG OD1", "CYS": "N CA CB SG",
    "GLN": "N CA CB CG CD OE1", "GLU": "N CA CB CG CD OE1", "HIS": "N CA CB CG ND1", "ILE": "N CA CB CG1 CD1",
    "LEU": "N CA CB CG CD1", "LYS": "N CA CB CG CD CE NZ", "MET": "N CA CB CG SD CE", "PHE": "N CA CB CG CD1",
    "PRO": "N CA CB CG CD", "SER": "N CA CB OG", "THR": "N CA CB OG1", "TRP": "N CA CB CG CD1",
    "TYR": "N CA CB CG CD1", "VAL": "N CA CB CG1",
}  # fmt: skip
MAX_CHI = 4
# MolProbity's names of the grids; PHE and TYR share one.
_TABLES: Sequence[str] = ("arg asn asp cys gln glu his ile leu lys met phetyr pro ser thr trp val").split()
# The last chi of these turns an end into its like: half a turn is a whole period.
_HALF_TURN = ("asp", "glu", "phetyr")


@dataclass(frozen=True)
class RotamerResidues(OnDevice):
    """Residues whose side chain has all the atoms of its chi angles.

    atoms (row, 4, 4) int64 rows of the atoms of chi 1 to 4 (of chi 1 where a residue has fewer); kind (row,) int64
    grid of percentiles; residue (row,) int64 row of the model's residue arrays.
    """

    atoms: Tensor
    kind: Tensor
    residue: Tensor


def rotamer_residues(model: AtomicModel) -> RotamerResidues:
    """The residues of a model that rotalyze would judge: all of CHI_PATHS with complete paths."""
    row_of = np.full((model.n_residues, len(ATOM_NAMES)), -1, dtype=np.int64)
    row_of[model.residue_index, model.atom_name] = np.arange(model.n_atoms)
    atoms, kinds, residues = [], [], []
    for name, path in CHI_PATHS.items():
        kind = _TABLES.index("phetyr" if name in ("PHE", "TYR") else name.lower())
        columns = [ATOM_NAMES.index(atom) for atom in path.split()]
        whole = (model.residue_type == RESIDUE_TYPES.index(name)) & (row_of[:, columns] >= 0).all(axis=1)
        rows = row_of[whole][:, columns]
        chi = [rows[:, first : first + 4] for first in range(len(columns) - 3)]
        atoms.append(np.stack(chi + chi[:1] * (MAX_CHI - len(chi)), axis=1))
        kinds.append(np.full(len(rows), kind))
        residues.append(np.flatnonzero(whole))
    residue = np.concatenate(residues)
    order = np.argsort(residue)
    return RotamerResidues(
        torch.from_numpy(np.concatenate(atoms)[order]),
        torch.from_numpy(np.concatenate(kinds)[order]),
        torch.from_numpy(residue[order]),
    )


def rotamer_distance(positions_xyz: Tensor, residues: RotamerResidues) -> Tensor:
    """Signed distance (degrees of chi space) of each residue from the 0.3 % contour of its kind, negative inside.

    positions_xyz (batch, atom, 3) -> (batch, row). Periodic and continuous, multilinear between grid points 1 degree
    apart for one chi, 5 for two, 8 for three and 10 for four.
    """
    return _look_up(_distance_tables(positions_xyz.device, positions_xyz.dtype), positions_xyz, residues)


def rotamer_excess(positions_xyz: Tensor, residues: RotamerResidues, margin: float = 0.0) -> Tensor:
    """Distance (degrees of chi space, >= 0) beyond `margin` degrees inside the 0.3 % contour: zero for rotamers.

    positions_xyz (batch, atom, 3) -> (batch, row). Differentiable.
    """
    return (rotamer_distance(positions_xyz, residues) + margin).clamp_min(0)


def rotamer_class(positions_xyz: Tensor, residues: RotamerResidues) -> Tensor:
    """Row of CLASSES for each residue, as rotalyze has it: (batch, atom, 3) -> (batch, row) int64."""
    percentile = _look_up(_percentile_tables(positions_xyz.device, positions_xyz.dtype), positions_xyz, residues)
    return (percentile >= ALLOWED).long() + (percentile >= FAVORED).long()


def rotamer_percentile(residue: str, chi: np.ndarray) -> np.ndarray:
    """Percentile of chi angles (row, chi) in degrees among the side chains of a residue type of CHI_PATHS: (row,)."""
    kind = torch.full((len(chi),), _TABLES.index("phetyr" if residue in ("PHE", "TYR") else residue.lower()))
    angles = torch.zeros(1, len(chi), MAX_CHI)
    angles[0, :, : chi.shape[1]] = torch.from_numpy(chi)
    return interpolate(_percentile_tables(angles.device, angles.dtype), kind, angles)[0].numpy()


def derive_tables(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of tables/rotamers.npz, uint8, by grid name, from MolProbity's `rota8000-*.data` grids in `folder`.

    Raises SourceError if a grid is missing.
    """
    return {name: pack_percentiles(read_grid(Path(folder) / f"rota8000-{name}.data").values) for name in _TABLES}


def _look_up(tables: TorsionTables, positions_xyz: Tensor, residues: RotamerResidues) -> Tensor:
    chi = dihedral(positions_xyz, residues.atoms.flatten(0, 1)).rad2deg()
    return interpolate(tables, residues.kind, chi.unflatten(1, (-1, MAX_CHI)))


@cache
def _percentiles() -> dict[str, TorsionGrid]:
    """The shipped grids by name."""
    with files("cryofound.physics").joinpath("tables", "rotamers.npz").open("rb") as stream:
        shipped = dict(np.load(stream, allow_pickle=False))
    grids = {}
    for name, code in shipped.items():
        periods = [360.0] * (code.ndim - 1) + [180.0 if name in _HALF_TURN else 360.0]
        step = tuple(period / bins for period, bins in zip(periods, code.shape, strict=True))
        grids[name] = TorsionGrid(unpack_percentiles(code), step)
    return grids


@cache
def _percentile_tables(device: torch.device, dtype: torch.dtype) -> TorsionTables:
    return torsion_tables([_percentiles()[name] for name in _TABLES]).to(device, dtype)


@cache
def _distance_tables(device: torch.device, dtype: torch.dtype) -> TorsionTables:
    grids = [_percentiles()[name] for name in _TABLES]
    distances = [TorsionGrid(contour_distance(grid, ALLOWED), grid.step) for grid in grids]
    return torsion_tables(distances).to(device, dtype)
