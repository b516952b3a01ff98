"""What a user gives as a reference: compared with its sequence, and what is left out of it is told."""

from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.commands.sample_reference import read_sampled_reference
from cryofound.errors import StructureError
from cryofound.structure.alignment import sequence_of
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein

ZINC = "HETATM 9001 ZN    ZN A 901       1.000   2.000   3.000  1.00 20.00          ZN\n"
WATER = "HETATM 9002  O   HOH A 902       5.000   2.000   3.000  1.00 20.00           O\n"
BASE = "ATOM   9003  {:<3}  DA X   1    {:8.3f}   0.000   0.000  1.00 20.00           {}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A chain from residue 1, with a zinc ion, a water and a nucleotide."""
    protein = made_protein(20)
    write_ensemble(tmp_path / "plain.cif", protein, protein.positions_xyz[None])
    text = gemmi.read_structure(str(tmp_path / "plain.cif")).make_pdb_string().split("TER")[0]
    base = "".join(BASE.format(name, 2.0 * row, name[0]) for row, name in enumerate(("P", "O5'", "C5'", "C1'", "C3'")))
    path = tmp_path / "holo.pdb"
    path.write_text(text + base + ZINC + WATER + "END\n")
    return path


def fasta(folder: Path, *sequences: str) -> Path:
    path = folder / "own.fasta"
    path.write_text("".join(f">p{row}\n{sequence}\n" for row, sequence in enumerate(sequences)))
    return path


def test_only_protein_is_kept_and_the_rest_is_told_in_one_line(file: Path):
    reference = read_sampled_reference(file)
    told = "left out, as only protein is moved: ligands 1 ZN; nucleic acid of chain X (1 residues); 1 waters"
    assert reference.notes[0] == told
    names = [each.residue.name for each in reference.structure[0].all()]
    assert not {"ZN", "DA", "HOH"} & set(names)
    assert len(names) == reference.atoms.n_atoms
    for each in reference.structure[0].all():
        assert reference.atoms.positions_xyz[each.atom.serial] == pytest.approx(each.atom.pos.tolist(), abs=1e-3)


def test_chains_that_are_named_are_kept_alone(tmp_path: Path):
    protein = made_protein(20)
    write_ensemble(tmp_path / "one.cif", protein, protein.positions_xyz[None])
    structure = gemmi.read_structure(str(tmp_path / "one.cif"))
    second = structure[0][0].clone()
    second.name = "B"
    structure[0].add_chain(second)
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(tmp_path / "two.cif"))
    reference = read_sampled_reference(tmp_path / "two.cif", chains=["B"])
    assert set(reference.atoms.chain_id) == {"B"}
    assert reference.residues.tolist() == list(range(20, 40))
    assert sorted(each.atom.serial for each in reference.structure[0].all()) == list(range(protein.n_atoms))
    with pytest.raises(StructureError, match="no protein chain C; it has A, B"):
        read_sampled_reference(tmp_path / "two.cif", chains=["C"])


def test_the_sequence_must_be_the_references(file: Path, tmp_path: Path):
    own = sequence_of(read_sampled_reference(file).atoms)
    read_sampled_reference(file, fasta=fasta(tmp_path, own))
    read_sampled_reference(file, fasta=fasta(tmp_path, own[:8] + "X" + own[9:]))
    other = ("A" if own[8] != "A" else "G").join((own[:8], own[9:]))
    with pytest.raises(StructureError, match=r"holo\.pdb|holo: chain A"):
        read_sampled_reference(file, fasta=fasta(tmp_path, other))
    with pytest.raises(StructureError, match=r"p1 is the sequence of no chain of .*holo\.pdb"):
        read_sampled_reference(file, fasta=fasta(tmp_path, own, own))


def test_what_the_protein_lacks_is_told(tmp_path: Path):
    protein = made_protein(20)  # whose side chains end at CB, on a coil with a jump in the middle
    positions = protein.positions_xyz.copy()
    positions[protein.residue_index >= 10] += np.array([0, 0, 50.0])
    write_ensemble(tmp_path / "odd.cif", protein, positions[None])
    notes = read_sampled_reference(tmp_path / "odd.cif").notes
    assert notes[0].startswith("side chains that lack atoms are sampled as they are: A/1 ")
    assert notes[1].startswith("chain breaks, whose ends nothing holds together: after ")
