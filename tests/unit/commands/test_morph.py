"""A morph keeps the first structure's names, begins and ends where it should, and has sound bonds between."""

from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.cli import main
from cryofound.structure.alignment import rmsd_superposed
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein

OPEN, CLOSED = "4ake_final.cif.gz", "1ake_final.cif.gz"


def positions(model: gemmi.Model, name: str) -> np.ndarray:
    return np.array([each.atom.pos.tolist() for each in model.all() if each.atom.name == name])


@pytest.mark.shared
def test_adenylate_kinase_closes_with_whole_bonds(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = shared_data / "families" / "adenylate_kinase"
    out = tmp_path / "morph.cif"
    asked = ["morph", f"{folder / OPEN}:A", f"{folder / CLOSED}:A", "--frames", "2", "--out", str(out)]
    assert main(asked) == 0
    found = gemmi.read_structure(str(out))
    first, last = (gemmi.read_structure(str(folder / name))[0]["A"] for name in (OPEN, CLOSED))
    ends = [np.array([residue["CA"][0].pos.tolist() for residue in c.get_polymer()]) for c in (first, last)]
    assert len(found) == 4
    assert positions(found[0], "CA") == pytest.approx(ends[0], abs=1e-3)
    assert rmsd_superposed(positions(found[3], "CA"), ends[1]) < 1e-3
    to_open = [rmsd_superposed(positions(model, "CA"), ends[0]) for model in found]
    assert np.all(np.diff(to_open) > 0.5)
    for model in (found[1], found[2]):
        peptide = np.linalg.norm(positions(model, "C")[:-1] - positions(model, "N")[1:], axis=1)
        assert np.abs(peptide - 1.33).max() < 0.08
        within = np.linalg.norm(positions(model, "CA") - positions(model, "C"), axis=1)
        assert np.abs(within - 1.525).max() < 0.08
    assert "ligands 2 AP5" in capsys.readouterr().out
    assert main(asked) == 1  # it is there already
    assert "is there already" in capsys.readouterr().err


def test_other_proteins_and_no_frames_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture):

    for name, seed in (("one", 0), ("other", 5)):
        protein = made_protein(40, seed)
        write_ensemble(tmp_path / f"{name}.cif", protein, protein.positions_xyz[None])
    paths = [str(tmp_path / "one.cif"), str(tmp_path / "other.cif")]
    assert main(["morph", *paths, "--out", str(tmp_path / "m.cif")]) == 1
    assert "are not related" in capsys.readouterr().err
    assert main(["morph", *paths, "--frames", "0", "--out", str(tmp_path / "m.cif")]) == 1
    assert capsys.readouterr().err == "error: --frames 0: must be 1 or more\n"
    assert not (tmp_path / "m.cif").exists()
