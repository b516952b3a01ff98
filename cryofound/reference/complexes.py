"""All protein chains of a structure file as one atomic model, because a complex moves as one."""

from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np

from cryofound.errors import StructureError
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.reading import read_model


def read_complex(path: Path) -> AtomicModel:
    """Heavy atoms of every protein chain of a file's first model, chain after chain in file order.

    Raises StructureError if the file cannot be read, holds no protein, or a chain lacks backbone atoms.
    """
    structure = open_structure(path)
    structure.setup_entities()
    names = dict.fromkeys(
        chain.name
        for chain in structure[0]
        if any(gemmi.find_tabulated_residue(residue.name).is_amino_acid() for residue in chain.get_polymer())
    )
    if not names:
        raise StructureError(f"{path}: holds no protein chain; give the structure of a protein")
    return joined([read_model(path, name) for name in names])


def open_structure(path: Path) -> gemmi.Structure:
    """A PDB or mmCIF file (plain or gzipped) as gemmi reads it; raises StructureError with one line."""
    if not Path(path).is_file():
        raise StructureError(f"{path}: no such file; check the path of the reference")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, IndexError) as error:
        raise StructureError(f"{path}: not a readable structure file: {' '.join(str(error).split())}") from None
    if not len(structure):
        raise StructureError(f"{path}: holds no atoms; it was cut short or is no structure file")
    return structure


def joined(chains: Sequence[AtomicModel]) -> AtomicModel:
    """Chains after one another as one model."""
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


def chain_rows(model: AtomicModel) -> dict[str, np.ndarray]:
    """Residue rows of each chain, in the order of the model."""
    return {str(name): np.flatnonzero(model.chain_id == name) for name in dict.fromkeys(model.chain_id.tolist())}
