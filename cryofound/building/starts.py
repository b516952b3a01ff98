"""Further models to begin a build from, as the samples of a pretrained model: a state may be nearer to one of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cryofound.building.motion import carried
from cryofound.errors import StructureError
from cryofound.evaluation.sample_file import same_atoms
from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.conformations import read_conformations

LEAST = 0.5  # share of the reference's atoms that a start must have


def read_starts(paths: Sequence[Path], reference: AtomicModel) -> list[np.ndarray]:
    """Positions (atom, 3) angstrom of the reference's atoms in every model of the files, superposed on it by their CA.

    Residues are matched by sequence, atoms by name; atoms that a file lacks go with those about them. Raises
    StructureError for a file that cannot be read, another protein, and one of which less than half is there.
    """
    return [_placed(path, model, reference) for path in paths for model in read_conformations(path)]


def _placed(path: Path, model: AtomicModel, reference: AtomicModel) -> np.ndarray:
    mine, theirs = same_atoms(reference, model, f"{path.name} and the reference").T
    if len(mine) < LEAST * reference.n_atoms:
        raise StructureError(
            f"{path}: has {len(mine)} of the reference's {reference.n_atoms} atoms; give models of the whole protein"
        )
    is_ca = np.isin(mine, reference.backbone_index()[:, 1])
    there = model.positions_xyz[theirs]
    there = superpose(there[is_ca], reference.positions_xyz[mine[is_ca]]).apply(there).astype(np.float32)
    found = np.array(reference.positions_xyz)
    found[mine] = there
    missing = np.setdiff1d(np.arange(reference.n_atoms), mine)
    for residue in np.unique(reference.residue_index[missing]):
        rows = missing[reference.residue_index[missing] == residue]
        found[rows] = carried(reference.positions_xyz[rows], reference.positions_xyz[mine], there)
    return found
