"""`cryofound evaluate`: what it prints and writes, and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cryofound.cli import main
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.reference.poses import body_of
from cryofound.reference.rigid_fit import draw
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein

HINGED = [made_protein(40, hinge_degrees=angle) for angle in (0.0, 15.0, 40.0)]
GRID = Grid.centred(44, 1.6)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: samples.cif with three models, states a.cif and b.cif, a.mrc, and much that is amiss."""
    monkeypatch.chdir(tmp_path)
    start = HINGED[0]
    write_ensemble(Path("samples.cif"), start, np.stack([each.positions_xyz for each in HINGED]))
    for name, model in (("a", HINGED[0]), ("b", HINGED[2]), ("other", made_protein(40, seed=5))):
        write_ensemble(Path(f"{name}.cif"), model, model.positions_xyz[None])
    values = draw(start.positions_xyz, body_of(start).electrons, GRID, 5.0)
    write_map(Path("a.mrc"), DensityMap(values, GRID))
    write_map(Path("far.mrc"), DensityMap(values, Grid(GRID.shape_zyx, 1.6, (500.0, 0.0, 0.0))))
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/a.txt").write_text("")
    Path("many").mkdir()
    for number in (10, 9):
        write_ensemble(Path(f"many/sample_{number}.cif"), start, HINGED[10 - number].positions_xyz[None])
    Path("shares.csv").write_text("name,population\nb,0.25\na,0.75\n")
    Path("wrong.csv").write_text("name,population\na,0.75\n")
    Path("columns.csv").write_text("state,share\na,0.75\n")
    return tmp_path


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_tables_numbers_and_matrices_agree(inputs, capsys):
    command = ["evaluate", "samples.cif", "--states", "a.cif", "b.cif:A", "--reference", "a.cif", "--normal-modes", "3"]
    assert main([*command, "--populations", "shares.csv", "--out", "out"]) == 0
    printed = capsys.readouterr().out
    assert "normal_modes" in printed
    assert printed.splitlines()[-1].startswith("out=out samples=3 residues=40")
    flat = json.loads(Path("out/metrics.json").read_text())
    assert {name.split("/")[0] for name in flat} == {"samples", "static", "normal_modes"}
    assert flat["samples/rmsd_recall"] == pytest.approx(0, abs=2e-3)
    rows = read("out/rmsd_states.csv")
    assert [row["sample"] for row in rows[:4]] == ["samples#1", "samples#2", "samples#3", "static 1"]
    distances = np.array([[float(row["a"]), float(row["b"])] for row in rows[:3]])
    assert flat["samples/rmsd_precision"] == pytest.approx(distances.min(1).mean(), abs=1e-4)
    static = float(rows[3]["b"])
    assert flat["static/rmsd_recall"] == pytest.approx(0.25 * static, abs=1e-3)
    assert static == pytest.approx(distances[0, 1], abs=1e-3)
    pairs = read("out/samples_rmsd_pairs.csv")
    assert float(pairs[0]["samples#3"]) == pytest.approx(static, abs=1e-3)
    rmsf = read("out/rmsf.csv")
    assert len(rmsf) == 40
    for row in rmsf:
        expected = 8 * np.pi**2 / 3 * float(row["samples_rmsf"]) ** 2
        assert float(row["samples_b"]) == pytest.approx(expected, rel=1e-2, abs=1e-2)
        assert float(row["static_rmsf"]) == 0
    assert not list(inputs.glob("out.*"))


def test_maps_are_scored_and_a_second_run_gives_the_same_bytes(inputs, capsys):
    command = ["evaluate", "many", "samples.cif", "--maps", "a.mrc", "--resolution", "5", "--processes", "1"]
    assert main([*command, "--out", "one"]) == 0
    assert main([*command, "--out", "two"]) == 0
    assert "sqrt(1 - CC)" in capsys.readouterr().out
    files = {path.name for path in Path("one").iterdir()}
    assert "cc_volume_maps.csv" in files
    assert not list(inputs.glob("one.*"))
    for name in files:
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    rows = read("one/cc_volume_maps.csv")
    assert [row["sample"] for row in rows] == ["sample_9", "sample_10", "samples#1", "samples#2", "samples#3"]
    best = max(rows, key=lambda row: float(row["a"]))
    assert best["sample"] in ("sample_10", "samples#1")
    flat = json.loads(Path("one/metrics.json").read_text())
    assert flat["samples/map_squared_recall"] == pytest.approx(1 - float(best["a"]), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["empty"], "empty: no samples"),
        (["none.cif"], "none.cif: no such file"),
        (["a.mrc"], "a.mrc: not a structure file"),
        (["samples.cif", "other.cif"], "other: its sequence has"),
        (["samples.cif", "--states", "other.cif"], "other: sequences of 40 and 40 residues are not related"),
        (["samples.cif", "--states", "none.cif"], "none.cif: no such file"),
        (["samples.cif", "--states", "a.cif:X"], "no chain X"),
        (["samples.cif", "--states", "a.cif", "a.cif"], "two of the states have the same name"),
        (["samples.cif", "--states", "a.cif", "--populations", "0.5", "0.5"], "1 states and 2 populations"),
        (["samples.cif", "--states", "a.cif", "--populations", "-1"], "population -1: not a number of zero or more"),
        (["samples.cif", "--states", "a.cif", "--populations", "0"], "populations: all are zero"),
        (["samples.cif", "--states", "a.cif", "b.cif", "--populations", "wrong.csv"], "give those of a, b"),
        (["samples.cif", "--states", "a.cif", "--populations", "columns.csv"], "its columns are"),
        (["samples.cif", "--states", "a.cif", "--populations", "none.csv"], "none.csv: cannot be read"),
        (["samples.cif", "--maps", "a.mrc"], "1 maps and 0 resolutions"),
        (["samples.cif", "--maps", "a.mrc", "--resolution", "0"], "resolution of 0 A"),
        (["samples.cif", "--maps", "far.mrc", "--resolution", "5"], "lie outside the map"),
        (["samples.cif", "--core", "1-x"], "--core 1-x: write it as"),
        (["samples.cif", "--core", "B:1-20"], "the samples have no residue there"),
        (["samples.cif", "--reference", "none.cif"], "none.cif: no such file"),
        (["samples.cif", "--reference", "a.cif", "--normal-modes", "-1"], "--normal-modes -1"),
        (["samples.cif", "--out", "full"], "full: is there already and not empty"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(inputs, capsys, arguments, reason):
    out = [] if "--out" in arguments else ["--out", "out"]
    assert main(["evaluate", *arguments, *out]) == 1
    printed = capsys.readouterr()
    assert reason in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert not list(inputs.glob("out*"))
    assert [path.name for path in Path("full").iterdir()] == ["a.txt"]
