"""`cryofound score`: what it prints and writes, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from cryofound.cli import main
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.structure.writing import write_ensemble
from tests.made_peptides import made_peptide


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with model.cif (two models), map.mrc about it, and far.mrc elsewhere; a home without reference data."""
    monkeypatch.setenv("CRYOFOUND_HOME", str(tmp_path / "home"))
    peptide = made_peptide(["ALA", "GLY", "SER", "VAL"])
    write_ensemble(tmp_path / "model.cif", peptide, np.stack([peptide.positions_xyz, peptide.positions_xyz + 0.5]))
    values = np.random.default_rng(0).standard_normal((20, 20, 30)).astype(np.float32)
    write_map(tmp_path / "map.mrc", DensityMap(values, Grid(values.shape, 1.5, (-15.0, -15.0, -15.0))))
    write_map(tmp_path / "far.mrc", DensityMap(values, Grid(values.shape, 1.5, (500.0, 0.0, 0.0))))
    return tmp_path


def test_every_model_of_a_file_is_scored_and_reference_data_is_asked_for_in_one_line(inputs, capsys):
    command = ["score", str(inputs / "model.cif"), "--map", str(inputs / "map.mrc"), "--resolution", "4"]
    assert main([*command, "--keep-b", "--out", str(inputs / "out")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("run `cryofound reference-data fetch`") == 1
    assert "model#2" in printed
    flat = json.loads((inputs / "out" / "scores.json").read_text())
    assert -0.5 < flat["model#1/cc_mask"] < 0.5
    assert {path.name for path in (inputs / "out").iterdir()} == {"scores.json", "residues.csv", "fsc.csv"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["model.cif", "--map", "far.mrc", "--resolution", "4"], "lie outside the map"),
        (["model.cif", "--map", "far.mrc"], "lie outside the map"),
        (["none.cif", "--map", "map.mrc", "--resolution", "4"], "no such file"),
        (["map.mrc", "--map", "map.mrc", "--resolution", "4"], "not a readable structure file"),
        (["model.cif", "--map", "model.cif", "--resolution", "4"], "model.cif"),
        (["model.cif", "--map", "map.mrc", "map.mrc", "map.mrc"], "2 models and 3 maps"),
        (["model.cif", "--map", "map.mrc", "--resolution", "4", "5"], "1 maps and 2 resolutions"),
        (["model.cif", "--map", "map.mrc", "--resolution", "-4"], "resolution of -4"),
        (["model.cif", "model.cif", "--map", "map.mrc", "--resolution", "4"], "the same name"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(inputs, capsys, monkeypatch, arguments, reason):
    monkeypatch.chdir(inputs)
    assert main(["score", *arguments]) == 1
    printed = capsys.readouterr()
    assert reason in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
