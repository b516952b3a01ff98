"""Any path: files, folders and what is neither."""

from pathlib import Path

import pytest

from cryofound.errors import StructureError
from cryofound.reference.reading import read_reference
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein


def test_a_folder_with_one_structure_is_that_structure(tmp_path: Path) -> None:
    made = made_protein(20)
    write_ensemble(tmp_path / "x.cif", made, made.positions_xyz[None])
    assert read_reference(tmp_path).name == read_reference(tmp_path / "x.cif").name == "x"
    write_ensemble(tmp_path / "y.cif", made, made.positions_xyz[None])
    with pytest.raises(StructureError, match="holds no output of boltz and 2 structure files"):
        read_reference(tmp_path)


def test_neither_file_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match="no such file or folder"):
        read_reference(tmp_path / "none")
    (tmp_path / "x.cif").write_text("nothing of the kind")
    with pytest.raises(StructureError, match=r"x\.cif: not a readable structure file"):
        read_reference(tmp_path / "x.cif")


def test_an_unfinished_prediction_by_its_own_path(tmp_path: Path) -> None:
    results = tmp_path / "boltz_results_x"
    (results / "processed").mkdir(parents=True)
    (results / "predictions").mkdir()
    (results / "processed/manifest.json").write_text('{"records": [{"id": "x"}]}')
    for path in (results, results / "predictions/x", tmp_path):
        with pytest.raises(StructureError, match="x: missing, though boltz_results_x lists it: boltz skips"):
            read_reference(path)
