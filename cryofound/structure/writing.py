"""Ensembles to files: one mmCIF with a model per conformation."""

import os
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np

from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel


def write_ensemble(
    path: Path,
    model: AtomicModel,
    positions_xyz: np.ndarray,
    b_factors: np.ndarray | None = None,
    name: str = "ensemble",
) -> None:
    """Write conformations (model, atom, 3) of `model`'s atoms as the models 1, 2, ... of one mmCIF file.

    b_factors (atom,) are written with every model, 0 without them. The file appears whole or not at all.
    """
    structure = gemmi.Structure()
    structure.name = name
    for number, positions in enumerate(np.asarray(positions_xyz, dtype=np.float64), start=1):
        structure.add_model(_model(str(number), model, positions, b_factors))
    structure.setup_entities()
    structure.assign_label_seq_id()
    path = Path(path)
    aside = path.with_name(path.name + ".partial")
    structure.make_mmcif_document().write_file(str(aside))
    os.replace(aside, path)


def numbered_structure(model: AtomicModel) -> gemmi.Structure:
    """A structure of the model's atoms, each with its row as its serial."""
    structure = gemmi.Structure()
    structure.add_model(_model("1", model, model.positions_xyz.astype(np.float64), None))
    return structure


def _model(number: str, model: AtomicModel, positions: np.ndarray, b_factors: np.ndarray | None) -> gemmi.Model:
    built = gemmi.Model(number)
    starts = np.flatnonzero(np.r_[True, model.chain_id[1:] != model.chain_id[:-1]])
    atoms = np.searchsorted(model.residue_index, np.arange(model.n_residues + 1))
    for first, last in zip(starts, [*starts[1:], model.n_residues], strict=True):
        chain = gemmi.Chain(str(model.chain_id[first]))
        for residue in range(first, last):
            rows = range(atoms[residue], atoms[residue + 1])
            chain.add_residue(_residue(model, residue, rows, positions, b_factors))
        built.add_chain(chain)
    return built


def _residue(
    model: AtomicModel, row: int, atoms: Sequence[int], positions: np.ndarray, b_factors: np.ndarray | None
) -> gemmi.Residue:
    residue = gemmi.Residue()
    residue.name = RESIDUE_TYPES[int(model.residue_type[row])]
    residue.seqid = gemmi.SeqId(int(model.residue_number[row]), " ")
    for number in atoms:
        atom = gemmi.Atom()
        atom.serial = number
        atom.name = ATOM_NAMES[int(model.atom_name[number])]
        atom.element = gemmi.Element(ELEMENTS[int(model.element[number])].title())
        atom.pos = gemmi.Position(*positions[number].tolist())
        atom.b_iso = 0.0 if b_factors is None else float(b_factors[number])
        residue.add_atom(atom)
    return residue
