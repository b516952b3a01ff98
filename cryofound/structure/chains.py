"""The chains of an atomic model: told apart, taken out and put together, because a complex moves as one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cryofound.structure.atomic_model import AtomicModel


def chain_rows(model: AtomicModel) -> dict[str, np.ndarray]:
    """Residue rows of each chain by its name, in the order of the model."""
    return {str(name): np.flatnonzero(model.chain_id == name) for name in dict.fromkeys(model.chain_id.tolist())}


def chains_of(model: AtomicModel) -> dict[str, AtomicModel]:
    """Each chain as a model of its own, by its name, in the order of the model."""
    return {name: residues_of(model, rows) for name, rows in chain_rows(model).items()}


def residues_of(model: AtomicModel, rows: np.ndarray) -> AtomicModel:
    """The residues in `rows` (increasing) with their atoms, and no others."""
    place = np.full(model.n_residues, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    index = place[model.residue_index]
    kept = index >= 0
    return replace(
        model,
        positions_xyz=model.positions_xyz[kept],
        atom_name=model.atom_name[kept],
        element=model.element[kept],
        residue_index=index[kept],
        residue_type=model.residue_type[rows],
        residue_number=model.residue_number[rows],
        chain_id=model.chain_id[rows],
    )


def atoms_of(model: AtomicModel, rows: np.ndarray) -> AtomicModel:
    """The atoms in `rows` (increasing) with their residues, and no others."""
    residues = np.unique(model.residue_index[rows])
    kept = np.isin(np.flatnonzero(np.isin(model.residue_index, residues)), rows)
    whole = residues_of(model, residues)
    return replace(
        whole,
        positions_xyz=whole.positions_xyz[kept],
        atom_name=whole.atom_name[kept],
        element=whole.element[kept],
        residue_index=whole.residue_index[kept],
    )


def joined(chains: Sequence[AtomicModel]) -> AtomicModel:
    """Chains after one another as one model; a single one as it is."""
    if len(chains) == 1:
        return chains[0]
    first = np.cumsum([0, *(chain.n_residues for chain in chains)])
    return AtomicModel(
        positions_xyz=np.concatenate([chain.positions_xyz for chain in chains]),
        atom_name=np.concatenate([chain.atom_name for chain in chains]),
        element=np.concatenate([chain.element for chain in chains]),
        residue_index=np.concatenate(
            [chain.residue_index + start for chain, start in zip(chains, first, strict=False)]
        ),
        residue_type=np.concatenate([chain.residue_type for chain in chains]),
        residue_number=np.concatenate([chain.residue_number for chain in chains]),
        chain_id=np.concatenate([chain.chain_id for chain in chains]),
    )
