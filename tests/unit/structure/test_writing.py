"""Ensembles survive the way to a file and back."""

import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.structure.reading import read_model
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein


def test_round_trip(tmp_path: Path) -> None:
    model = made_protein(40)
    positions = model.positions_xyz + np.arange(3, dtype=np.float32)[:, None, None] * 7
    write_ensemble(tmp_path / "e.cif", model, positions, b_factors=np.arange(model.n_atoms) % 50)
    for number in range(3):
        back = read_model(tmp_path / "e.cif", model=number)
        np.testing.assert_allclose(back.positions_xyz, positions[number], atol=1e-3)
        for field in fields(model):
            if field.name != "positions_xyz":
                np.testing.assert_array_equal(getattr(back, field.name), getattr(model, field.name))
    with pytest.raises(StructureError, match="has models 0 to 2, model 3 was asked for"):
        read_model(tmp_path / "e.cif", model=3)
    atoms = [atom.b_iso for chain in gemmi.read_structure(str(tmp_path / "e.cif"))[2] for r in chain for atom in r]
    np.testing.assert_allclose(atoms, np.arange(model.n_atoms) % 50)
    assert [path.name for path in tmp_path.iterdir()] == ["e.cif"]


def test_models_are_taken_one_after_another(tmp_path: Path) -> None:
    """No more than one is in memory: each is the same array, filled anew; biotite reads what was in it."""
    model = made_protein(12)
    held = np.empty_like(model.positions_xyz)

    def moving() -> Iterator[np.ndarray]:
        for number in range(4):
            held[:] = model.positions_xyz + number
            yield held

    write_ensemble(tmp_path / "e.cif", model, moving(), name="it's a name")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # biotite takes the label columns where there are no author's
        read = pdbx.get_structure(pdbx.CIFFile.read(tmp_path / "e.cif"))
    expected = model.positions_xyz + np.arange(4)[:, None, None]
    np.testing.assert_allclose(np.array(read.coord, dtype=np.float32), expected, atol=6e-4)
