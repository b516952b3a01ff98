"""Ensembles survive the way to a file and back."""

from dataclasses import fields
from pathlib import Path

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
