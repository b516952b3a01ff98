"""Ensembles to files: one mmCIF with a model per conformation."""

from collections.abc import Iterable
from pathlib import Path

import gemmi
import numpy as np

from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel
from cryofound.structure.stencil import Stencil


def write_ensemble(
    path: Path,
    model: AtomicModel,
    positions_xyz: Iterable[np.ndarray],
    b_factors: np.ndarray | None = None,
    name: str = "ensemble",
) -> None:
    """Write conformations (model, atom, 3) of `model`'s atoms as the models 1, 2, ... of one mmCIF file.

    They are taken one after another, so that any number can be written. b_factors (atom,) go with every model, 0
    without them. The file appears whole or not at all.
    """
    own_b = np.zeros(model.n_atoms) if b_factors is None else b_factors
    Stencil.of(numbered_structure(model)).write(Path(path), positions_xyz, name, own_b)


def numbered_structure(model: AtomicModel) -> gemmi.Structure:
    """The atoms of a model without their places; the serial of each is its row."""
    structure, built = gemmi.Structure(), gemmi.Model("1")
    starts = np.flatnonzero(np.r_[True, model.chain_id[1:] != model.chain_id[:-1]])
    atoms = np.searchsorted(model.residue_index, np.arange(model.n_residues + 1))
    for first, last in zip(starts, [*starts[1:], model.n_residues], strict=True):
        chain = gemmi.Chain(str(model.chain_id[first]))
        for residue in range(first, last):
            chain.add_residue(_residue(model, residue, range(atoms[residue], atoms[residue + 1])))
        built.add_chain(chain)
    structure.add_model(built)
    return structure


def _residue(model: AtomicModel, row: int, atoms: range) -> gemmi.Residue:
    residue = gemmi.Residue()
    residue.name = RESIDUE_TYPES[int(model.residue_type[row])]
    residue.seqid = gemmi.SeqId(int(model.residue_number[row]), " ")
    for number in atoms:
        atom = gemmi.Atom()
        atom.name = ATOM_NAMES[int(model.atom_name[number])]
        atom.element = gemmi.Element(ELEMENTS[int(model.element[number])].title())
        atom.serial = number
        residue.add_atom(atom)
    return residue
