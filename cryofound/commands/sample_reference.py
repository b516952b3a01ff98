"""The reference that a user gives for sampling: read, compared with its sequence, its file kept for what is written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import gemmi
import numpy as np

from cryofound.building.deposit import ReferenceFile, read_reference_file
from cryofound.errors import StructureError
from cryofound.physics.geometry import bonded_to_next
from cryofound.reference.prediction import Prediction
from cryofound.reference.reading import read_reference
from cryofound.reference.sequences import ProteinChain, chain_sequences, check_chains, read_fasta
from cryofound.structure.alignment import scored_alignment
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES, AtomicModel
from cryofound.structure.chains import atoms_of
from cryofound.structure.reading import SIDE_CHAINS

NAMED = 3  # residues or gaps that a note names


@dataclass(frozen=True)
class SampledReference:
    """A prediction or structure, its file's protein alone, and notes on what was found in the file, in plain words.

    structure: one model, each atom of which has as its serial its row in `atoms`; chains, numbers and sequences are the
    file's. residues (residue,) int64: rows of `atoms` among the prediction's, of which it may have some chains alone.
    """

    prediction: Prediction
    atoms: AtomicModel
    residues: np.ndarray
    structure: gemmi.Structure
    notes: tuple[str, ...]

    @property
    def path(self) -> Path:
        return self.prediction.best.path


def read_sampled_reference(
    path: Path, name: str | None = None, fasta: Path | None = None, chains: Sequence[str] | None = None
) -> SampledReference:
    """The reference in a Boltz folder (`name` chooses of several), mmCIF or PDB: its protein chains, or those named.

    With `fasta` all its chains must have the sequences in there. Raises StructureError where the file cannot be used,
    lacks backbone atoms, holds no protein or no such chain, or has another sequence.
    """
    prediction = read_reference(path, name)
    if fasta is not None:
        check_sequences(prediction, fasta)
    file = read_reference_file(prediction.best.path)
    every = np.arange(file.model.n_residues)
    protein = _of_rows(file.structure, file.rows)
    reference = SampledReference(prediction, file.model, every, protein, tuple(_left_out(file)))
    if chains is not None:
        unknown = [each for each in chains if each not in file.model.chain_id]
        if unknown:
            known = ", ".join(dict.fromkeys(file.model.chain_id.tolist()))
            raise StructureError(f"{prediction.best.path}: no protein chain {unknown[0]}; it has {known}")
        wanted = np.isin(file.model.chain_id, list(chains))
        reference = with_atoms(reference, np.flatnonzero(wanted[file.model.residue_index]))
    return replace(reference, notes=(*reference.notes, *_notes(reference.atoms)))


def with_atoms(reference: SampledReference, rows: np.ndarray) -> SampledReference:
    """Of a reference only the atoms in `rows` (increasing)."""
    return replace(
        reference,
        atoms=atoms_of(reference.atoms, rows),
        residues=reference.residues[np.unique(reference.atoms.residue_index[rows])],
        structure=_of_rows(reference.structure, rows),
    )


def check_sequences(prediction: Prediction, fasta: Path) -> None:
    """Raise StructureError unless every chain has a sequence of the FASTA file, and every sequence a chain.

    A sequence stands for all its copies; each chain is compared with the one that it is most like.
    """
    sequences = read_fasta(fasta)

    @cache
    def most_like(own: str) -> str:
        return max(sequences, key=lambda name: scored_alignment(sequences[name], own)[1])

    meant = {chain: most_like(own) for chain, own in chain_sequences(prediction.best.atoms).items()}
    idle = [name for name in sequences if name not in meant.values()]
    if idle:
        raise StructureError(
            f"{fasta}: {idle[0]} is the sequence of no chain of {prediction.best.path} ({', '.join(meant)}); give the "
            "reference of the whole complex, or the sequences of its chains alone"
        )
    try:
        check_chains(prediction, [ProteinChain(name, sequences[name], chain) for chain, name in meant.items()])
    except StructureError as error:
        raise StructureError(f"{fasta}: not the sequences of {error}; correct them, or leave --fasta out") from None


def _of_rows(structure: gemmi.Structure, rows: np.ndarray) -> gemmi.Structure:
    """The atoms whose serials are in `rows`, each with its place there as its new serial."""
    kept = structure.clone()
    place = {serial: number for number, serial in enumerate(rows.tolist())}
    for chain in kept[0]:
        for residue in reversed(range(len(chain))):
            for atom in reversed(range(len(chain[residue]))):
                if chain[residue][atom].serial not in place:
                    del chain[residue][atom]
            if not len(chain[residue]):
                del chain[residue]
    kept.remove_empty_chains()
    for each in kept[0].all():
        each.atom.serial = place[each.atom.serial]
    return kept


def _left_out(file: ReferenceFile) -> list[str]:
    """A note on ligands, nucleic acid and residues without a backbone; none where there are none."""
    names = {residue[0].serial: (chain.name, residue.name) for chain in file.structure[0] for residue in chain}
    nucleic, partial, ligands = Counter[str](), 0, Counter[str]()
    for chain, name in (names[int(piece[0])] for piece in file.pieces):
        kind = gemmi.find_tabulated_residue(name)
        if kind.is_nucleic_acid():
            nucleic[chain] += 1
        elif kind.is_amino_acid():
            partial += 1
        else:
            ligands[name] += 1
    told = []
    if ligands:
        told.append("ligands " + ", ".join(f"{count} {name}" for name, count in ligands.most_common()))
    if nucleic:
        told.append(f"nucleic acid of chain {', '.join(nucleic)} ({nucleic.total()} residues)")
    if partial:
        told.append(f"{partial} residues without a whole backbone")
    told += [each for each in file.left_out if "waters" in each]
    return [f"left out, as only protein is moved: {'; '.join(told)}"] if told else []


def _notes(model: AtomicModel) -> list[str]:
    """Notes on what the protein itself lacks."""
    notes = []
    if lacking := _lacking_side_chains(model):
        notes.append(f"side chains that lack atoms are sampled as they are: {_listed(model, lacking)}")
    if gaps := _gaps(model):
        notes.append(f"chain breaks, whose ends nothing holds together: after {_listed(model, gaps)}")
    return notes


def _lacking_side_chains(model: AtomicModel) -> list[int]:
    """Residue rows whose side chain has fewer atoms than its type."""
    names: dict[int, set[str]] = {}
    for residue, name in zip(model.residue_index.tolist(), model.atom_name.tolist(), strict=True):
        names.setdefault(residue, set()).add(ATOM_NAMES[int(name)])
    types = [RESIDUE_TYPES[int(kind)] for kind in model.residue_type.tolist()]
    return [row for row, kind in enumerate(types) if kind != "UNK" and {*SIDE_CHAINS[kind].split()} - names[row]]


def _gaps(model: AtomicModel) -> list[int]:
    """Residue rows after which a chain goes on without a peptide bond."""
    bonded = bonded_to_next(model)
    same = np.flatnonzero(model.chain_id[1:] == model.chain_id[:-1])
    return [int(row) for row in same if not bonded[row]]


def _listed(model: AtomicModel, rows: list[int]) -> str:
    named = [
        f"{model.chain_id[row]}/{model.residue_number[row]} {RESIDUE_TYPES[int(model.residue_type[row])]}"
        for row in rows[:NAMED]
    ]
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return ", ".join(named) + more
