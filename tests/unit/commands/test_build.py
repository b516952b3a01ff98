"""`cryofound build`: which systems are meant, and what is wrong, in one line before anything is built."""

import resource
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
import yaml

from cryofound.building.request import entry_identity
from cryofound.cli import main
from cryofound.commands.build_systems import build_system, chosen_entries, record_build
from cryofound.config import BuildConfig
from cryofound.errors import RecipeError, StoreError, TrackingError
from cryofound.manifest import write_manifest
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.physics.density import render_gaussian
from cryofound.structure.writing import write_ensemble
from tests.made_peptides import made_peptide

ENTRY = {
    "schema_version": 2,
    "family": "made",
    "split": "train",
    "sources": {"here": {"kind": "local", "folder": "."}},
    "reference": {"source": "here", "file": "reference.cif"},
}
STATE = {"state_id": "one", "kind": "map", "source": "here", "file": "one.mrc", "resolution": 4.0}
PARTS = 256  # KiB that a file may have on the disk that is full


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a reference, its map, and a catalog of three entries, the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRYOFOUND_HOME", str(tmp_path / "home"))
    model = made_peptide(["ALA"] * 12)
    model = model.moved(model.positions_xyz - model.positions_xyz.mean(0))
    write_ensemble(tmp_path / "reference.cif", model, model.positions_xyz[None])
    positions, grid = model.positions_xyz.astype(np.float32)[None], Grid.centred(48, 1.6)
    drawn = render_gaussian(torch.from_numpy(positions), torch.full((1, model.n_atoms), 6.0), grid, 4.0)
    write_map(tmp_path / "one.mrc", DensityMap(drawn[0].numpy(), grid))
    for name, more in (
        ("Made-1", {}),
        ("made_2", {"sequence": "G" * 12}),
        ("missing", {"reference": {"source": "here", "file": "no.cif"}}),
    ):
        (tmp_path / f"{name}.entry.yaml").write_text(
            yaml.safe_dump({**ENTRY, "system_id": name, "states": [STATE], **more})
        )
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that the command ends with."""
    assert main(["build", *arguments]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    return told


PLAIN = ("reference.cif", "--map", "one.mrc", "--resolution", "4", "--out", "out")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--out", "out"), "what is to be built? give REFERENCE --map MAP"),
        (("reference.cif", "--map", "one.mrc", "--out", "out"), "what is to be built?"),
        (("reference.cif", "--map", "no.mrc", "--resolution", "4", "--out", "out"), "no.mrc"),
        (("no.cif", "--map", "one.mrc", "--resolution", "4", "--out", "out"), "no.cif: no such file or folder"),
        (("reference.cif", "--map", "one.mrc", "--resolution", "4", "5", "--out", "out"), "1 maps and 2 resolutions"),
        (("reference.cif", "--map", "one.mrc", "--resolution", "-4", "--out", "out"), "give a positive number"),
        ((*PLAIN[:-1], "."), ".: exists already"),
        ((*PLAIN[:-1], "one.mrc/out"), "one.mrc: cannot be written to"),
        ((*PLAIN, "--system", "Made-1"), "give one of the two"),
        (("--system", "mad-1", "--entries", "*.entry.yaml", "--out", "out"), "mad-1: no such system; there are Made-1"),
        (("--entries", "*.nothing", "--out", "out"), "*.nothing: no catalog entry matches"),
        (("--system", "made_2", "--entries", "*.entry.yaml", "--out", "out"), "sequence of made_2 does not match"),
        (("--system", "missing", "--entries", ".", "--out", "out"), "missing: "),
    ],
)
def test_what_is_wrong_is_one_line(here: Path, capsys, arguments: tuple[str, ...], told: str) -> None:
    assert told in refused(capsys, *arguments)
    assert not list((here / "out").glob("*"))


def test_maps_that_cannot_be_used_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mrcfile.open(here / "one.mrc", "r+") as file:
        assert file.header is not None
        file.header.maps = 2  # a second axis y, none of z
    assert "one.mrc: axis order [1, 2, 2] is no permutation" in refused(capsys, *PLAIN)
    with mrcfile.open(here / "one.mrc", "r+", permissive=True) as file:
        assert file.header is not None
        file.header.maps = 3
        file.data[3, 4, 5] = np.nan  # type: ignore[index]  # the file has data
    assert "one.mrc: 1 of 110592 values are NaN or infinite" in refused(capsys, *PLAIN)
    assert "Made-1: " in refused(capsys, "--system", "Made-1", "--entries", "*.yaml", "--out", "out")


def test_systems_are_found_by_their_ids_in_any_case_or_by_their_files(here: Path) -> None:
    assert [entry.system_id for entry in chosen_entries(["*.entry.yaml"], ["MISSING", "made-1"])] == [
        "missing",
        "Made-1",
    ]
    assert len(chosen_entries([str(here)], [])) == 3
    (here / "copy.yaml").write_text((here / "Made-1.entry.yaml").read_text())
    with pytest.raises(RecipeError, match="system_id Made-1 is already that of"):
        chosen_entries([str(here)], ["missing"])


def test_one_system_that_is_refused_does_not_keep_the_next_from_being_tried(here: Path, capsys) -> None:
    told = refused(capsys, "--entries", "made_2.entry.yaml", "missing.entry.yaml", "--out", "out")
    assert told.startswith("error: made_2: ")
    assert told.endswith("(also refused: missing)\n")


def test_a_finished_system_is_skipped_only_if_it_would_be_built_alike(here: Path, capsys) -> None:
    (entry,) = chosen_entries(["Made-1.entry.yaml"], [])
    identity = entry_identity(entry, here / "home" / "cache", "auto")
    finished, recipe = here / "out" / "Made-1", BuildConfig()
    finished.mkdir(parents=True)
    write_manifest(finished, recipe=recipe.model_dump(mode="json"), origin={"identity": identity})
    told: list[str] = []
    assert build_system(entry, finished, recipe, "auto", here / "home", told.append) is None
    assert told == [f"system=Made-1 out={finished} skipped=finished"]
    other = recipe.model_copy(update={"seed": 1})
    with pytest.raises(StoreError, match=r"Made-1: .*Made-1: was built with another recipe; name another folder"):
        build_system(entry, finished, other, "auto", here / "home")
    write_map(here / "one.mrc", DensityMap(np.eye(48, dtype=np.float32)[None].repeat(48, 0), Grid.centred(48, 1.6)))
    with pytest.raises(StoreError, match="was built from other inputs"):
        build_system(entry, finished, recipe, "auto", here / "home")


@pytest.fixture
def small_files(here: Path) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PARTS * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_one_line_and_leaves_no_finished_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The map that is drawn of a state takes more than a file may have."""
    drawn = {"state_id": "one", "kind": "structure", "source": "here", "file": "reference.cif"}
    entry = {**ENTRY, "system_id": "drawn", "states": [drawn], "simulation": {"resolution": 3.0}}
    (here / "drawn.yaml").write_text(yaml.safe_dump(entry))
    told = refused(capsys, "--entries", "drawn.yaml", "--out", "out")
    assert "drawn: " in told
    assert "no room for its files" in told
    assert not (here / "out" / "drawn").exists()
    assert not (here / "out" / "drawn-inputs").exists()


def made_build(folder: Path) -> None:
    """What a finished build leaves for MLflow."""
    folder.mkdir()
    (folder / "scores.json").write_text('{"one (1)/cc_mask": 0.9, "one (1)/molprobity": NaN}')
    (folder / "report.html").write_text("<html></html>")
    (folder / "one.cif").write_text("data_one\n")
    (folder / "fsc.csv").write_text("a,b\n")
    free = {"one (1)": {"seen": 0.8, "free": 0.7}}
    recipe = BuildConfig().model_dump(mode="json")
    facts = {"maps": {"one (1)": "cd"}, "recipe": recipe, "revision": "abc", "free": free, "origin": {}}
    write_manifest(folder, reference={"path": "r.cif", "sha256": "ef"}, **facts)


def test_mlflow_is_told_once_what_the_folder_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("CRYOFOUND_TRACKING_URI", raising=False)
    made_build(tmp_path / "made")
    run = record_build(tmp_path / "made", tmp_path / "home", "made")
    assert record_build(tmp_path / "made", tmp_path / "home", "made") == run
    client = MlflowClient(tracking_uri=run.uri)
    told = client.get_run(run.run_id)
    assert told.info.status == "FINISHED"
    assert told.data.metrics == {"one _1_/cc_mask": 0.9, "one _1_/seen": 0.8, "one _1_/free": 0.7}
    assert len(client.get_metric_history(run.run_id, "one _1_/cc_mask")) == 1
    wanted = {
        "kind": "build",
        "system": "made",
        "git_revision": "abc",
        "reference_sha256": "ef",
        "map_sha256/one _1_": "cd",
    }
    assert wanted.items() <= told.data.tags.items()
    assert told.data.params["motion_steps"] == str(BuildConfig().motion_steps)
    assert {file.path for file in client.list_artifacts(run.run_id)} == {"report.html", "scores.json", "one.cif"}


def test_a_server_that_is_gone_is_a_tracking_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOFOUND_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made_build(tmp_path / "made")
    with pytest.raises(TrackingError, match=r"MLflow at http://127.0.0.1:9 cannot be used"):
        record_build(tmp_path / "made", tmp_path / "home", "made")
