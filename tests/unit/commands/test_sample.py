"""`cryofound sample` and `interpolate`: whole folders in the user's frame, or one line that says why there is none."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.cli import main
from cryofound.commands.evaluate import conformations
from cryofound.manifest import is_finished, read_manifest
from cryofound.registry import load_model
from cryofound.structure.alignment import rmsd_superposed
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.writing import write_ensemble
from tests.made_models import made_home, made_relative
from tests.made_proteins import made_protein, random_rotation

FILES = {
    "ensemble.cif", "samples", "samples.csv", "residues.csv", "motions.csv", "motions.npz", "motion_1.cif",
    "verdict.json", "reference.cif", "latents.npy", "manifest.json", "report.html",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_home(tmp_path_factory.mktemp("home"))


def relative(number: int = 105) -> AtomicModel:
    """A helix of the sequence of the family's anchor, far away and turned, with numbers of its own."""
    protein = made_relative()
    turned = protein.positions_xyz @ random_rotation(3).T + [50.0, -20.0, 30.0]
    return replace(protein.moved(turned), residue_number=np.arange(number, number + 40), chain_id=np.array(["K"] * 40))


def written(path: Path, model: AtomicModel) -> Path:
    write_ensemble(path, model, model.positions_xyz[None])
    return path


def sample(home: Path, reference: Path, out: Path, *more: str) -> int:
    return main(["sample", "--model", str(home), "--reference", str(reference), "--out", str(out), *more])


def models(path: Path) -> np.ndarray:
    return np.array([[each.atom.pos.tolist() for each in model.all()] for model in gemmi.read_structure(str(path))])


@pytest.fixture(scope="module")
def sampled(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three samples of the relative."""
    folder = tmp_path_factory.mktemp("sampled")
    assert sample(home, written(folder / "newcomer.cif", relative()), folder / "out", "--n", "3", "--seed", "5") == 0
    return folder / "out"


def test_samples_lie_where_the_users_file_does_and_have_its_names(sampled: Path):
    found = models(sampled / "ensemble.cif")
    reference = relative()
    assert len(found) == 3
    for number, each in enumerate(found, start=1):
        apart = np.sqrt(((each - reference.positions_xyz) ** 2).sum(1).mean())
        assert apart < rmsd_superposed(each, reference.positions_xyz) + 3.0  # not in the frame of the family, 60 A off
        single = gemmi.read_structure(str(sampled / "samples" / f"sample_{number:02d}.cif"))[0]
        assert [chain.name for chain in single] == ["K"]
        assert single[0][0].seqid.num == 105
    assert {path.name for path in sampled.iterdir()} >= FILES


def test_the_folder_says_how_it_was_made(sampled: Path):
    told = read_manifest(sampled)
    assert (told["kind"], told["samples"], told["forced"]) == ("samples", 3, False)
    assert told["request"]["seed"] == 5
    with (sampled / "samples.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["sample"] for row in rows] == ["sample_01", "sample_02", "sample_03"]
    assert json.loads((sampled / "verdict.json").read_text())["member"] == "one"


def test_the_same_seed_gives_the_same_samples(home: Path, sampled: Path, tmp_path: Path):
    reference = sampled.parent / "newcomer.cif"
    assert sample(home, reference, tmp_path / "again", "--n", "3", "--seed", "5") == 0
    assert (tmp_path / "again" / "ensemble.cif").read_bytes() == (sampled / "ensemble.cif").read_bytes()
    assert sample(home, reference, tmp_path / "other", "--n", "3", "--seed", "6") == 0
    assert (tmp_path / "other" / "ensemble.cif").read_bytes() != (sampled / "ensemble.cif").read_bytes()


def test_a_folder_of_samples_is_evaluated_without_what_lies_beside_them(sampled: Path):
    found = np.array([model.positions_xyz for _, model in conformations(sampled)])
    assert found == pytest.approx(models(sampled / "ensemble.cif"), abs=1e-3)


def test_a_path_between_samples_begins_and_ends_with_them(sampled: Path, tmp_path: Path):
    asked = ["interpolate", str(sampled), "--from", "sample_01", "--to", "sample_03", "--frames", "3"]
    assert main([*asked, "--out", str(tmp_path / "path")]) == 0
    path, samples = models(tmp_path / "path" / "path.cif"), models(sampled / "ensemble.cif")
    assert len(path) == 5
    assert path[0] == pytest.approx(samples[0], abs=2e-3)
    assert path[-1] == pytest.approx(samples[2], abs=2e-3)
    with (tmp_path / "path" / "path.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["part"]) for row in rows] == [0, 0.25, 0.5, 0.75, 1]
    assert float(rows[0]["rmsd_from_first"]) < 1e-3
    assert is_finished(tmp_path / "path")


def test_a_path_between_training_states_begins_and_ends_as_they_are_decoded(home: Path, tmp_path: Path):
    asked = ["interpolate", "--model", str(home), "--system", "one", "--from", "a", "--to", "c", "--frames", "1"]
    assert main([*asked, "--out", str(tmp_path / "path")]) == 0
    path, member = models(tmp_path / "path" / "path.cif"), load_model(str(home), home).members[0]
    for frame, displacement in zip((path[0], path[-1]), member.displacements, strict=True):
        assert frame == pytest.approx(member.outline.reference.positions_xyz + displacement, abs=2e-3)


def test_latents_of_another_model_are_not_decoded(sampled: Path, home: Path, tmp_path: Path, capsys):
    told = read_manifest(sampled, check=False)
    moved = tmp_path / "moved"
    shutil.copytree(sampled, moved)
    (moved / "manifest.json").write_text(json.dumps(told | {"model_sha256": "0" * 64}))
    asked = ["interpolate", str(moved), "--from", "sample_01", "--to", "sample_02", "--out", str(tmp_path / "path")]
    assert main(asked) == 1
    assert "was sampled with other weights than those of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--from", "sample_01", "--to", "sample_09"), "has no sample_09; there are sample_0"),
        (("--from", "sample_01", "--to", "sample_02", "--frames", "0"), "--frames 0: must be 1 or more"),
        (("--from", "sample_01", "--to", "sample_02", "--system", "one"), "a path between what?"),
    ],
)
def test_paths_to_nowhere_are_refused_in_one_line(sampled: Path, tmp_path: Path, capsys, more, reason: str):
    assert main(["interpolate", str(sampled), *more, "--out", str(tmp_path / "path")]) == 1
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def _zero(home: Path, folder: Path) -> list[str]:
    return [str(written(folder / "r.cif", relative())), "--n", "0"]


def _in_use(home: Path, folder: Path) -> list[str]:
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text("keep")
    return [str(written(folder / "r.cif", relative()))]


def _other_sequence(home: Path, folder: Path) -> list[str]:
    (folder / "own.fasta").write_text(">own\n" + "G" * 40 + "\n")
    return [str(written(folder / "r.cif", relative())), "--fasta", str(folder / "own.fasta")]


def _without_backbone(home: Path, folder: Path) -> list[str]:
    path = written(folder / "r.cif", relative())
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not (" CA " in line and " 120 " in line)))
    return [str(path)]


def _too_large(home: Path, folder: Path) -> list[str]:
    long = relative()
    far = np.where(long.residue_index[:, None] >= 38, [400.0, 0, 0], 0.0)
    return [str(written(folder / "r.cif", long.moved(long.positions_xyz + far)))]


def _without_numbers(home: Path, folder: Path) -> list[str]:
    model = relative()
    xyz = model.positions_xyz.copy()
    xyz[7, 1] = np.nan
    return [str(written(folder / "r.cif", model.moved(xyz)))]


def _away(home: Path, folder: Path) -> list[str]:
    return [str(written(folder / "r.cif", relative())), "--guidance", "-1"]


def _stranger(home: Path, folder: Path) -> list[str]:
    return [str(written(folder / "r.cif", made_protein(60, seed=11)))]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (_zero, "--n 0: must be 1 or more"),
        (_in_use, "is there already and not empty"),
        (_other_sequence, "own.fasta: not the sequences of"),
        (_other_sequence, "r.cif: chain K, own"),
        (_without_numbers, "r.cif: chain K: positions that are no numbers"),
        (_away, "--guidance -1.0: must be from 0"),
        (_without_backbone, "residue 120"),
        (_too_large, "smaller than the protein"),
        (_stranger, "no trained family is related"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(home: Path, tmp_path: Path, capsys, given, reason: str):
    reference, *more = given(home, tmp_path)
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}
    assert sample(home, Path(reference), tmp_path / "out", *more) == 1
    told = capsys.readouterr().err
    assert reason in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_what_is_forced_is_marked_everywhere(home: Path, tmp_path: Path, capsys):
    reference = written(tmp_path / "stranger.cif", made_protein(60, seed=11))
    assert sample(home, reference, tmp_path / "out", "--force") == 0
    assert "by force" in capsys.readouterr().out
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix == ".cif":
            assert "FORCED" in path.read_text()[:300]
        elif path.suffix == ".csv":
            assert "FORCED" in path.read_text()
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["forced"] is True
    assert read_manifest(tmp_path / "out")["forced"] is True
    assert 'id="forced"' in (tmp_path / "out" / "report.html").read_text()
