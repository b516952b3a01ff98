"""Systems as the tensors that networks and losses read."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cryofound.config import ModelConfig
from cryofound.ensemble.system import System
from cryofound.errors import RecipeError
from cryofound.models.molecule import MoleculeBatch
from cryofound.models.symmetry import symmetry_tables
from cryofound.physics.density import render_gaussian
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel
from cryofound.structure.groups import group_shares
from cryofound.structure.symmetry import find_symmetry
from cryofound.training.residue_features import blosum62, residue_geometry

_NUMBER_OF_ELEMENT = np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS], dtype=np.float32)


def molecule_batch(
    systems: Sequence[System], system_index: Sequence[int], config: ModelConfig | None = None
) -> MoleculeBatch:
    """Pad the references of several systems into one batch; system_index (batch,) their residual rows (-1: none).

    `config` is the recipe's `model`, by default one without groups and embeddings. Raises RecipeError for a system that
    has embeddings of another width.
    """
    config = config or ModelConfig()
    models = [system.reference for system in systems]
    atoms = max(model.n_atoms for model in models)
    residues = max(model.n_residues for model in models)

    def padded(rows: Sequence[np.ndarray], length: int) -> Tensor:
        out = np.zeros((len(rows), length, *rows[0].shape[1:]), dtype=rows[0].dtype)
        for target, row in zip(out, rows, strict=True):
            target[: len(row)] = row
        return torch.from_numpy(out)

    symmetry_atoms, symmetry_rotation = symmetry_tables([_group(system) for system in systems], atoms)
    embedding, has_embedding = zip(*(_embedding(system, config.embedding_width) for system in systems), strict=True)
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
        blosum=padded([blosum62(model.residue_type) for model in models], residues),
        residue_geometry=padded([residue_geometry(each.reference, each.confidence) for each in systems], residues),
        embedding=padded(embedding, residues),
        embedding_mask=padded(has_embedding, residues),
        group_share=padded([_group_shares(model, config) for model in models], residues),
        symmetry_atoms=symmetry_atoms,
        symmetry_rotation=symmetry_rotation,
        hide_identity=torch.zeros(len(models), dtype=torch.bool),
        hide_geometry=torch.zeros(len(models), dtype=torch.bool),
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


def _group_shares(model: AtomicModel, config: ModelConfig) -> np.ndarray:
    """(residue, group) float32: shares in the groups of a large protein, zeros for a small one."""
    if model.n_residues < config.grouped_from:
        return np.zeros((model.n_residues, sum(config.groups)), dtype=np.float32)
    return group_shares(model.ca_xyz(), config.groups)


def _group(system: System) -> tuple[np.ndarray, np.ndarray] | None:
    """Atoms and rotations of the point group that ties a system's copies; None where they are free."""
    if system.symmetry == "C1":
        return None
    symmetry = find_symmetry(system.reference, system.symmetry)
    return symmetry.atoms, symmetry.rotation


def _embedding(system: System, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(residue, width) float32 and (residue,) bool: where there is one."""
    count, embedding = system.reference.n_residues, system.embedding
    if width == 0 or embedding is None:
        return np.zeros((count, width), dtype=np.float32), np.zeros(count, dtype=bool)
    if embedding.shape[1] != width:
        raise RecipeError(
            f"{system.system_id}: its embedding has width {embedding.shape[1]}, model.embedding_width is {width}; "
            "set it to the embedding's, or to 0 to leave embeddings out"
        )
    return embedding.astype(np.float32), np.ones(count, dtype=bool)
