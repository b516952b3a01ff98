"""`cryofound build`: what it writes, what of the reference it keeps, and what it refuses."""

import csv
import json
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch
import yaml

from cryofound.building.deposit import read_reference_file, write_models
from cryofound.cli import main
from cryofound.errors import StructureError
from cryofound.manifest import read_manifest
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.physics.density import render_gaussian
from cryofound.structure.writing import write_ensemble
from tests.made_peptides import made_peptide

LIGAND = """HETATM 9001 CA    CA A 301      {0:8.3f}{1:8.3f}{2:8.3f}  1.00 20.00          CA
HETATM 9002  O   HOH A 401      {0:8.3f}{1:8.3f}{2:8.3f}  1.00 20.00           O
END
"""


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with reference.pdb (24 alanines, a calcium and a water), two maps of it, and a quick recipe."""
    monkeypatch.setenv("CRYOFOUND_HOME", str(tmp_path / "home"))
    helix = made_peptide(["ALA"] * 24)
    helix = helix.moved(helix.positions_xyz - helix.positions_xyz.mean(0))
    write_ensemble(tmp_path / "helix.cif", helix, helix.positions_xyz[None])
    structure = gemmi.read_structure(str(tmp_path / "helix.cif"))
    for number, residue in enumerate(structure[0]["A"]):
        residue.seqid = gemmi.SeqId(number + 101, " ")
    text = structure.make_pdb_string().split("TER")[0] + LIGAND.format(*(helix.positions_xyz[60] + [0, 0, 4]))
    (tmp_path / "reference.pdb").write_text(text)
    grid = Grid.centred(56, 1.6)
    for name, shift in (("one", 0.0), ("two", 2.0)):
        xyz = torch.from_numpy(helix.positions_xyz + np.float32([shift, 0, 0]))[None]
        drawn = render_gaussian(xyz, torch.full((1, helix.n_atoms), 6.0), grid, 4.0)[0]
        write_map(tmp_path / f"{name}.mrc", DensityMap(drawn.numpy(), grid))
    quick = {"motion_steps": 40, "refinement": [[5.0, 20, 0.03]], "group_levels": [2]}
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(quick))
    return tmp_path


def build(inputs: Path, *more: str, out: str = "out") -> int:
    maps = [str(inputs / f"{name}.mrc") for name in ("one", "two")]
    start = ["build", str(inputs / "reference.pdb"), "--map", *maps, "--recipe", str(inputs / "quick.yaml")]
    return main([*start, *(more or ("--resolution", "4")), "--out", str(inputs / out)])


@pytest.mark.slow
def test_a_model_for_every_map_with_all_that_the_reference_had(inputs: Path, capsys: pytest.CaptureFixture[str]):
    assert build(inputs) == 0
    told = capsys.readouterr().out
    assert "state=0 from=-1" in told
    assert "warning: reference.pdb: 1 waters are not in the models" in told
    out = inputs / "out"
    assert sorted(each.name for each in out.iterdir()) == [
        "displacements.csv", "fsc.csv", "manifest.json", "models.cif", "morph.cif", "one.cif", "open.cxc",
        "report.html", "residues.csv", "scores.json", "two.cif", "warnings.txt",
    ]  # fmt: skip
    one, two, models, path = (
        gemmi.read_structure(str(out / f"{name}.cif")) for name in ("one", "two", "models", "morph")
    )
    assert (len(models), len(path)) == (2, 10)
    chain = two[0]["A"]
    assert [residue.seqid.num for residue in chain] == [*range(101, 125), 301]
    calcium = [structure[0]["A"]["301"][0]["CA"][0].pos for structure in (one, two)]
    assert calcium[1].x - calcium[0].x == pytest.approx(2.0, abs=0.4)
    with (out / "displacements.csv").open() as stream:
        moves = [float(row["ca_displacement"]) for row in csv.DictReader(stream) if row["state"] == "two"]
    assert np.mean(moves) == pytest.approx(2.0, abs=0.3)
    scores = json.loads((out / "scores.json").read_text())
    assert scores["two/cc_mask"] > 0.8
    manifest = read_manifest(out)
    assert set(manifest["free"]) == {"one", "two"}
    assert manifest["built_from"]["one"] == "reference"
    assert 'open "two.cif" id 3' in (out / "open.cxc").read_text()
    assert build(inputs) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--resolution", "1"), "one.mrc: a resolution of 1 A is finer than two voxels"),
        (("--resolution", "4", "5", "6"), "2 maps and 3 resolutions"),
        (("--resolution", "4", "--half-maps", "a.mrc"), "1 half maps for 2 maps"),
        (("--resolution", "4", "--chains", "Q"), "no chain Q"),
        (("--resolution", "4", "--mask", "nothing.mrc"), "nothing.mrc"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(inputs: Path, capsys, more, told):
    assert build(inputs, *more) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (inputs / "out").exists()


def test_a_reference_outside_the_map_is_refused(inputs: Path, capsys: pytest.CaptureFixture[str]):
    values = np.eye(40, dtype=np.float32)[None].repeat(40, 0)
    write_map(inputs / "one.mrc", DensityMap(values, Grid((40, 40, 40), 1.6, (400.0, 0.0, 0.0))))
    assert build(inputs) == 1
    assert "lie outside the map" in capsys.readouterr().err
    assert not (inputs / "out").exists()


def test_a_file_written_back_says_what_made_it(inputs: Path):
    reference = read_reference_file(inputs / "reference.pdb")
    assert [len(piece) for piece in reference.pieces] == [1]
    assert reference.left_out == ("1 waters",)
    there = reference.placed(reference.model.positions_xyz, reference.passengers().positions_xyz)
    write_models(inputs / "again.cif", reference, [there, there], "twice")
    block = gemmi.cif.read(str(inputs / "again.cif")).sole_block()
    assert block.find_value("_software.name") == "CryoFound"
    assert block.find_value("_pdbx_initial_refinement_model.details") == "reference.pdb"
    again = gemmi.read_structure(str(inputs / "again.cif"))
    positions = [np.array([each.atom.pos.tolist() for each in model.all()]) for model in again]
    assert len(positions) == 2
    assert np.allclose(positions[0][: len(reference.rows)], reference.model.positions_xyz, atol=2e-3)


def test_names_of_a_force_field_become_those_of_the_archive_and_elements_are_known(inputs: Path):
    atoms = [line for line in (inputs / "reference.pdb").read_text().splitlines() if line.startswith("ATOM")]
    atoms = [line[:21] + " " + line[22:76].ljust(55) for line in atoms]  # neither chain nor element
    (inputs / "bare.pdb").write_text("\n".join([*atoms, "END", ""]))
    reference = read_reference_file(inputs / "bare.pdb")
    assert reference.structure[0][0].name == "A"
    assert {each.atom.element.name for each in reference.structure[0].all()} == {"C", "N", "O"}
    assert len(reference.rows) == len(atoms)


def test_a_ligand_without_elements_is_refused(inputs: Path):
    text = (
        (inputs / "reference.pdb")
        .read_text()
        .replace("          CA\n", "            \n")
        .replace("CA    CA", "Q1   LIG")
    )
    (inputs / "odd.pdb").write_text(text)
    with pytest.raises(StructureError, match="atom Q1 of LIG 301 in chain A has no known element"):
        read_reference_file(inputs / "odd.pdb")
