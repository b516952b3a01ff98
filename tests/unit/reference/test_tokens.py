"""Tokens: residues, ligand atoms, and the modified residues that Boltz-1 takes apart."""

from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.reference.tokens import boltz_tokens, residue_tokens
from cryofound.structure.reading import read_complex
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein

ATOMS_OF_SEP = 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A chain of eight residues, the third a phosphoserine, then a ligand of three atoms, in boltz's manner."""
    made = made_protein(8)
    write_ensemble(tmp_path / "made.cif", made, made.positions_xyz[None])
    structure = gemmi.read_structure(str(tmp_path / "made.cif"))
    chain = structure[0][0]
    modified = chain[2]
    modified.name = "SEP"
    names = [atom.name for atom in modified]
    for name in [each for each in ("CB", "OG", "P", "O1P", "O2P", "O3P") if each not in names]:
        atom = gemmi.Atom()
        atom.name, atom.element = name, gemmi.Element(name[0])
        atom.pos = modified[0].pos
        modified.add_atom(atom)
    assert len(modified) == ATOMS_OF_SEP
    ligand = gemmi.Residue()
    ligand.name, ligand.seqid, ligand.het_flag = "LIG", gemmi.SeqId("1"), "H"
    for name in ("C1", "C2", "O1"):
        atom = gemmi.Atom()
        atom.name, atom.element = name, gemmi.Element(name[0])
        ligand.add_atom(atom)
    other = gemmi.Chain("L")
    other.add_residue(ligand)
    for residue in chain:
        residue.het_flag = "A"
    structure[0].add_chain(other)  # the chains move in memory: `chain` is not to be used any more
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(tmp_path / "made_model_0.cif"))
    return tmp_path / "made_model_0.cif"


def test_one_token_for_each_residue_and_ligand_atom(path: Path) -> None:
    tokens = boltz_tokens(path, read_complex(path), 8 + 3)
    assert tokens.chains == ("A", "L")
    np.testing.assert_array_equal(tokens.residue, [*range(8), -1, -1, -1])
    np.testing.assert_array_equal(tokens.chain, [0] * 8 + [1] * 3)


def test_modified_residues_by_atom(path: Path) -> None:
    tokens = boltz_tokens(path, read_complex(path), 7 + ATOMS_OF_SEP + 3)
    np.testing.assert_array_equal(tokens.residue, [0, 1, *[2] * ATOMS_OF_SEP, *range(3, 8), -1, -1, -1])
    values = np.arange(len(tokens), dtype=np.float32)
    expected = [0, 1, 2 + (ATOMS_OF_SEP - 1) / 2, *range(2 + ATOMS_OF_SEP, 7 + ATOMS_OF_SEP)]
    np.testing.assert_allclose(tokens.per_residue(values), expected)
    pairs = tokens.per_residue_pair(values[:, None] + 100 * values)
    np.testing.assert_allclose(pairs, np.add.outer(expected, 100 * np.array(expected)), rtol=1e-6)
    assert pairs.dtype == np.float32


def test_another_number_gives_both(path: Path) -> None:
    with pytest.raises(StructureError, match="make 11 tokens, its confidence has 12"):
        boltz_tokens(path, read_complex(path), 12)


def test_residue_tokens_change_nothing() -> None:
    model = made_protein(12)
    tokens = residue_tokens(model)
    values = np.random.default_rng(0).standard_normal((12, 12)).astype(np.float32)
    np.testing.assert_array_equal(tokens.per_residue_pair(values), values)
