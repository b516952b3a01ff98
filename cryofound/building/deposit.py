"""The reference's file, and models written as it was: its chains, numbers, sequences, ligands, with other positions."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import gemmi
import numpy as np

from cryofound.building.fitting import Passengers
from cryofound.errors import StructureError
from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel
from cryofound.structure.files import open_numbered
from cryofound.structure.reading import FORCE_FIELD_RESIDUES, read_rows

SOLVENT = {"HOH", "DOD", "WAT"}


@dataclass(frozen=True)
class ReferenceFile:
    """A structure file: its protein as a model, the rows of the model's atoms, and pieces of everything else.

    structure: one model without hydrogens, waters and second conformations; each atom's serial is its row in the file.
    pieces: rows of the atoms of each residue that is no part of the model; left_out: what was dropped, in words.
    """

    path: Path
    structure: gemmi.Structure
    model: AtomicModel
    rows: np.ndarray
    pieces: tuple[np.ndarray, ...]
    left_out: tuple[str, ...]

    def passengers(self) -> Passengers:
        """What moves with the model: ligands, glycans, ions, nucleic acid, and residues without a whole backbone."""
        atoms = {each.atom.serial: each.atom for each in self.structure[0].all()}
        return Passengers(
            tuple(np.array([atoms[row].pos.tolist() for row in piece]) for piece in self.pieces),
            tuple(np.array([atoms[row].element.atomic_number for row in piece]) for piece in self.pieces),
        )

    def placed(
        self, positions_xyz: np.ndarray, pieces_xyz: Sequence[np.ndarray], b_factor: np.ndarray | None = None
    ) -> gemmi.Model:
        """The file's model with its atoms (atom, 3) and pieces elsewhere; b_factor is in the order of the result."""
        place = dict(zip(self.rows.tolist(), np.asarray(positions_xyz, dtype=np.float64).tolist(), strict=True))
        for rows, xyz in zip(self.pieces, pieces_xyz, strict=True):
            place |= dict(zip(rows.tolist(), np.asarray(xyz, dtype=np.float64).tolist(), strict=True))
        model = self.structure[0].clone()
        for number, each in enumerate(model.all()):
            each.atom.pos = gemmi.Position(*place[each.atom.serial])
            each.atom.occ = 1.0
            each.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
            if b_factor is not None:
                each.atom.b_iso = float(b_factor[number])
        return model


def read_reference_file(path: Path, chains: Sequence[str] | None = None, model: int = 0) -> ReferenceFile:
    """The reference of a build, from PDB or mmCIF: the named protein chains, or all; other chains are carried along.

    Of alternative conformations the first is kept. Raises StructureError as `read_complex` does, and for a
    ligand without elements.
    """
    path = Path(path)
    protein, rows = read_rows(path, chains, model)
    structure = open_numbered(path, model)
    hydrogens = sum(each.atom.is_hydrogen() for each in structure[0].all())
    structure.remove_hydrogens()
    structure.remove_alternative_conformations()
    waters = sum(residue.name in SOLVENT for chain in structure[0] for residue in chain)
    structure.remove_waters()
    structure.remove_empty_chains()
    of_model, pieces = dict(zip(rows.tolist(), range(len(rows)), strict=True)), []
    for chain in structure[0]:
        chain.name = chain.name.strip() or "A"  # as the model has it
        for residue in chain:
            residue.name = FORCE_FIELD_RESIDUES.get(residue.name, residue.name)
            if residue.name in RESIDUE_TYPES:
                _name_atoms(residue, protein, of_model)
            others = [atom.serial for atom in residue if atom.serial not in of_model]
            if len(others) == len(residue):
                _require_elements(path, chain, residue)
                pieces.append(np.array(others))
                continue
            for row in reversed(range(len(residue))):  # atoms that the model does not know, as a modification's
                if residue[row].serial in others:
                    del residue[row]
    told = [f"{count} {what}" for count, what in ((hydrogens, "hydrogens"), (waters, "waters")) if count]
    return ReferenceFile(path, structure, protein, rows, tuple(pieces), tuple(told))


def _name_atoms(residue: gemmi.Residue, protein: AtomicModel, of_model: Mapping[int, int]) -> None:
    """Standard names and elements of a standard residue's atoms, where a force field wrote its own or none."""
    for atom in residue:
        row = of_model.get(atom.serial)
        if row is not None:
            atom.name = ATOM_NAMES[int(protein.atom_name[row])]
            atom.element = gemmi.Element(ELEMENTS[int(protein.element[row])].title())


def _require_elements(path: Path, chain: gemmi.Chain, residue: gemmi.Residue) -> None:
    for atom in residue:
        if atom.element.atomic_number == 0:
            raise StructureError(
                f"{path}: atom {atom.name} of {residue.name} {residue.seqid} in chain {chain.name} has no known "
                "element; write the element into the file, or leave the residue out"
            )


def write_models(path: Path, reference: ReferenceFile, models: Sequence[gemmi.Model], title: str) -> None:
    """Write models 1, 2, ... as one mmCIF with the sequences of the reference's file; whole or not at all."""
    structure = reference.structure.clone()
    del structure[0]
    for number, model in enumerate(models, start=1):
        again = model.clone()
        again.name = str(number)
        structure.add_model(again)
    structure.name = path.stem
    structure.info["_struct.title"] = title
    structure.setup_entities()
    structure.assign_label_seq_id()
    structure.assign_serial_numbers()
    document = structure.make_mmcif_document()
    block = document.sole_block()
    block.set_pairs(
        "_software.",
        {
            "pdbx_ordinal": "1",
            "name": "CryoFound",
            "version": gemmi.cif.quote(version("cryofound")),
            "classification": "refinement",
        },
        raw=True,
    )
    block.set_pairs(
        "_pdbx_initial_refinement_model.",
        {"id": "1", "type": gemmi.cif.quote("other"), "details": gemmi.cif.quote(reference.path.name)},
        raw=True,
    )
    aside = path.with_name(path.name + ".partial")
    document.write_file(str(aside))
    os.replace(aside, path)
