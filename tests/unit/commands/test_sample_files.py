"""What a sampled ensemble is on disk: every file is read back as it was meant, and bears the mark of force."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.commands.sample_files import FORCED, STEPS, Ensemble, write_ensemble_files
from cryofound.commands.sample_reference import read_sampled_reference
from cryofound.evaluation.principal_motions import principal_motions
from cryofound.evaluation.sample_file import Samples
from tests.made_samples import made_samples, made_scored


@pytest.fixture
def ensemble(tmp_path: Path) -> Ensemble:
    made_scored(tmp_path)
    reference = read_sampled_reference(tmp_path / "hinge.cif")
    positions = made_samples()
    positions.tofile(tmp_path / "positions.f32")
    names = tuple(f"sample_{row:02d}" for row in range(1, 6))
    motions = principal_motions(lambda: [positions])
    return Ensemble(
        title="hinge",
        structure=reference.structure,
        samples=Samples("samples", reference.atoms, names, tmp_path / "positions.f32"),
        figures={"motion_1": motions.place[:, 0], "rmsd": np.array([1.0, 2.0, np.nan, 4.0, 5.0])},
        profiles={"rmsf": np.linspace(0, 1, 60)},
        uncertainty=np.linspace(0.2, 3.0, 60),
        motions=motions,
        verdict={"grade": "fair"},
        grade="fair",
        mark="",
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_sample_is_read_back_with_its_uncertainty(ensemble: Ensemble, tmp_path: Path):
    folder = tmp_path / "out"
    folder.mkdir()
    write_ensemble_files(folder, ensemble)
    whole = gemmi.read_structure(str(folder / "ensemble.cif"))
    assert len(whole) == 5
    for row, model in enumerate(whole):
        single = gemmi.read_structure(str(folder / "samples" / f"sample_{row + 1:02d}.cif"))[0]
        for each in (model, single):
            found = np.array([atom.atom.pos.tolist() for atom in each.all()])
            assert found == pytest.approx(made_samples()[row], abs=6e-4)
    assert [residue[0].b_iso for residue in whole[0][0]] == pytest.approx(ensemble.uncertainty.tolist(), abs=6e-3)
    reference = gemmi.read_structure(str(folder / "reference.cif"))[0]
    assert [each.atom.pos.x for each in reference.all()] == pytest.approx(
        ensemble.samples.model.positions_xyz[:, 0].tolist(), abs=6e-4
    )


def test_tables_have_a_row_for_each(ensemble: Ensemble, tmp_path: Path):
    write_ensemble_files(tmp_path, ensemble)
    samples, residues, motions = (rows(tmp_path / f"{name}.csv") for name in ("samples", "residues", "motions"))
    assert [row["sample"] for row in samples] == list(ensemble.samples.names)
    assert samples[2]["rmsd"] == ""
    assert float(samples[1]["rmsd"]) == 2.0
    assert len(residues) == 60
    assert (residues[4]["chain"], residues[4]["number"]) == ("A", "5")
    assert float(residues[-1]["uncertainty"]) == 3.0
    assert sum(float(row["share_of_variance"]) for row in motions) == pytest.approx(1, abs=2e-4)
    assert {row["verdict"] for row in samples + residues + motions} == {"fair"}
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"grade": "fair"}


def test_a_principal_motion_is_walked_on_both_sides_of_the_mean(ensemble: Ensemble, tmp_path: Path):
    write_ensemble_files(tmp_path, ensemble)
    frames = gemmi.read_structure(str(tmp_path / "motion_1.cif"))
    xyz = np.array([[atom.atom.pos.tolist() for atom in model.all()] for model in frames])
    motions = ensemble.motions
    for step, frame in zip(STEPS, xyz, strict=True):
        away = frame - motions.mean_xyz
        assert (away**2).sum(1).mean() == pytest.approx((step * motions.deviation[0]) ** 2, abs=2e-3)
    with np.load(tmp_path / "motions.npz", allow_pickle=False) as arrays:
        back = arrays["mean_xyz"] + np.einsum("m,mai->ai", arrays["place"][1], arrays["motion_xyz"])
    assert back == pytest.approx(made_samples()[1], abs=0.05)  # three motions are all that five such samples have


def test_force_is_written_into_every_file(ensemble: Ensemble, tmp_path: Path):
    write_ensemble_files(tmp_path, replace(ensemble, mark=FORCED, verdict={"forced": True}))
    for path in tmp_path.rglob("*.cif"):
        if path.name != "hinge.cif":
            assert "FORCED" in path.read_text()[:300], path
    for path in tmp_path.glob("*.csv"):
        assert all("FORCED" in row["verdict"] for row in rows(path)), path
    assert json.loads((tmp_path / "verdict.json").read_text())["forced"] is True
    with np.load(tmp_path / "motions.npz", allow_pickle=False) as arrays:
        assert bool(arrays["forced"])
