"""Systems as the tensors that networks and losses read."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cryofound.ensemble.system import System
from cryofound.models.molecule import MoleculeBatch
from cryofound.physics.density import render_gaussian
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS

_NUMBER_OF_ELEMENT = np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS], dtype=np.float32)


def molecule_batch(systems: Sequence[System], system_index: Sequence[int]) -> MoleculeBatch:
    """Pad the references of several systems into one batch; system_index (batch,) their residual rows (-1: none)."""
    models = [system.reference for system in systems]
    atoms = max(model.n_atoms for model in models)
    residues = max(model.n_residues for model in models)

    def padded(rows: list[np.ndarray], length: int) -> Tensor:
        out = np.zeros((len(rows), length, *rows[0].shape[1:]), dtype=rows[0].dtype)
        for target, row in zip(out, rows, strict=True):
            target[: len(row)] = row
        return torch.from_numpy(out)

    return MoleculeBatch(
        reference_xyz=padded([model.positions_xyz.astype(np.float32) for model in models], atoms),
        amplitude=padded([_NUMBER_OF_ELEMENT[model.element] for model in models], atoms),
        atom_name=padded([model.atom_name.astype(np.int64) for model in models], atoms),
        residue_index=padded([model.residue_index.astype(np.int64) for model in models], atoms),
        residue_type=padded([model.residue_type.astype(np.int64) for model in models], residues),
        residue_xyz=padded([model.ca_xyz().astype(np.float32) for model in models], residues),
        family_position=padded([system.family_position.astype(np.float32) for system in systems], residues),
        residue_mask=padded([np.ones(model.n_residues, dtype=bool) for model in models], residues),
        system_index=torch.tensor(list(system_index)),
    )


def reference_density(molecule: MoleculeBatch, systems: Sequence[System], resolutions: Sequence[float]) -> Tensor:
    """Density of each reference at the resolution (angstrom) of its maps, (batch, z, y, x); the grids must agree."""
    rows = [
        render_gaussian(
            molecule.reference_xyz[row : row + 1], molecule.amplitude[row : row + 1], system.grid, resolution
        )
        for row, (system, resolution) in enumerate(zip(systems, resolutions, strict=True))
    ]
    return torch.cat(rows)
