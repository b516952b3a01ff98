"""Complexes: all protein chains of a file, and nothing else of it."""

from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, joined
from cryofound.structure.reading import read_complex
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein


def chain(name: str, residues: int, seed: int) -> AtomicModel:
    return replace(made_protein(residues, seed), chain_id=np.array([name] * residues))


def test_written_and_read_again(tmp_path: Path) -> None:
    chains = [chain("B", 20, 1), chain("A", 30, 2), chain("BA", 20, 1)]
    whole = joined(chains)
    write_ensemble(tmp_path / "x.cif", whole, whole.positions_xyz[None])
    read = read_complex(tmp_path / "x.cif")
    for name, written in vars(whole).items():
        if name == "positions_xyz":
            np.testing.assert_allclose(read.positions_xyz, written, atol=2e-3)
        else:
            np.testing.assert_array_equal(getattr(read, name), written)
    assert {name: len(rows) for name, rows in chain_rows(read).items()} == {"B": 20, "A": 30, "BA": 20}
    for one, rows in zip(chains, chain_rows(whole).values(), strict=True):
        np.testing.assert_array_equal(whole.ca_xyz()[rows], one.ca_xyz())


def test_a_file_without_protein(tmp_path: Path) -> None:
    structure = gemmi.read_pdb_string("HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O")
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(tmp_path / "water.cif"))
    with pytest.raises(StructureError, match=r"water\.cif: holds no protein chain"):
        read_complex(tmp_path / "water.cif")
