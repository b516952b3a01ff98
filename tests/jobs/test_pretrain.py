"""The whole job on a made-up family, and its refusals: one line, exit code 1, a failed run, nothing half-written."""

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from cryofound.manifest import is_finished
from cryofound.structure.reading import read_model
from jobs.pretrain import main

Recipes = Callable[..., Path]


def runs(home: Path) -> dict[str, Run]:
    """All runs by name."""
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    found = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    named = {str(run.info.run_name): run for run in found}
    assert len(named) == len(found)
    return named


def one(home: Path, name: str) -> Path:
    (folder,) = home.glob(f"{name}-*")
    return folder


def skipped(printed: str) -> list[str]:
    return [line.split()[0].removeprefix("step=") for line in printed.splitlines() if line.endswith("skipped=finished")]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_head")
def test_from_entries_to_a_registered_model_and_again(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home, recipe = tmp_path / "home", tiny_recipe()
    assert main(["--recipe", str(recipe), "--home", str(home)]) == 0
    printed = capfd.readouterr().out
    assert skipped(printed) == []
    assert "held out" in printed
    assert f"mlflow ui --backend-store-uri sqlite:///{home / 'mlflow.db'}" in printed

    found = runs(home)
    run = found["tiny"]
    assert set(found) == {"tiny", "stage1", "stage2", "hinges/one", "hinges/two"}
    assert {each.info.status for each in found.values()} == {"FINISHED"}
    children = [each for each in found.values() if each is not run]
    assert {each.data.tags["mlflow.parentRunId"] for each in children} == {run.info.run_id}
    assert {each.data.tags["stage"] for each in children if each.data.tags["kind"] == "stage"} == {"stage1", "stage2"}
    assert run.data.params["stage1.steps"] == found["stage1"].data.params["stage1.steps"] == "40"
    assert run.data.tags["store"] == one(home, "store").name
    assert run.data.tags["recipe_file"] == str(recipe)
    assert run.data.tags["torch"] == torch.__version__
    assert set(run.data.metrics) >= {f"seconds/{name}" for name in ("store", "stage1", "stage2", "evaluate")}

    # what is true of one system is also the mean of a family's held-out systems, and of the split's
    two = found["hinges/two"].data.metrics
    assert two["scores/recall_rmsd"] == run.data.metrics["family/hinges/held_out_recall_rmsd"] > 0
    assert two["scores/recall_rmsd"] == pytest.approx(run.data.metrics["scores/held_out_recall_rmsd"])
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")

    def steps(name: str, metric: str) -> list[int]:
        return [point.step for point in client.get_metric_history(found[name].info.run_id, metric)]

    curves = {("stage1", "training/ncc"): [*range(5, 41, 5)], ("stage2", "training/total"): [*range(10, 41, 10)]}
    curves |= {("hinges/two", "states/recall_rmsd"): [0, 1], ("tiny", "seconds/stage1"): [0]}
    assert {key: steps(*key) for key in curves} == curves

    def artifacts(name: str) -> Path:
        return home / "mlartifacts" / found[name].info.run_id / "artifacts"

    assert (artifacts("tiny") / "evaluation" / "scores.json").is_file()
    assert (artifacts("hinges/two") / "two.png").is_file()
    assert (artifacts("stage1") / "export" / "model.safetensors").is_file()
    assert {path.name for path in (artifacts("stage1") / "reconstructions").iterdir()} == {"one.png", "two.png"}
    assert not [path for path in home.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".partial")]

    # what was registered draws the samples that were scored
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/cryofound@latest")
    (drawn,) = model.predict([{"store": str(one(home, "store")), "system_id": "two", "seed": 0}])
    with np.load(one(home, "sample") / "two.npz") as scored:
        np.testing.assert_array_equal(drawn, scored["positions_xyz"])
    np.testing.assert_allclose(read_model(one(home, "sample") / "two.cif", model=1).positions_xyz, drawn[1], atol=2e-3)

    assert main(["--recipe", str(recipe), "--home", str(home)]) == 0
    assert skipped(capfd.readouterr().out) == [
        "store",
        "stage1",
        "reconstruct",
        "stage2",
        "sample",
        "evaluate",
        "register",
    ]
    again = runs(home)
    assert {name: each.info.run_id for name, each in again.items()} == {
        name: each.info.run_id for name, each in found.items()
    }
    assert {each.info.status for each in again.values()} == {"FINISHED"}
    assert {key: steps(*key) for key in curves} == curves

    # a step whose result is lost is made again from its inputs, to the same bytes; nothing else is
    before = {path.name: path.read_bytes() for path in one(home, "sample").glob("[!m]*")}
    shutil.rmtree(one(home, "sample"))
    assert main(["--recipe", str(recipe), "--home", str(home)]) == 0
    assert skipped(capfd.readouterr().out) == ["store", "stage1", "reconstruct", "stage2", "evaluate", "register"]
    assert {path.name: path.read_bytes() for path in one(home, "sample").glob("[!m]*")} == before


def refused(recipe: Path, home: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Run a job that must be refused; the one line it says."""
    capfd.readouterr()
    assert main(["--recipe", str(recipe), "--home", str(home)]) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    (line,) = lines
    (run,) = runs(home).values()
    assert run.info.status == "FAILED"
    assert line == f"error: {run.data.tags['error']}"
    assert not [folder for folder in home.glob("*-*") if folder.is_dir() and is_finished(folder)]
    return line


def test_unknown_key_is_refused_before_anything_starts(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(tiny_recipe(recipe={"colour": "red"}), tmp_path / "home", capfd)
    assert "recipe.yaml: unknown key 'colour' (known here: name, " in line


@pytest.mark.usefixtures("ray_head")
def test_unknown_key_of_an_entry_is_refused(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(tiny_recipe(entry={"colour": "red"}), tmp_path / "home", capfd)
    assert "two.entry.yaml: unknown key 'colour'" in line


@pytest.mark.usefixtures("ray_head")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"leave_out": "O"}, r"two-reference\.pdb.*\bO\b"),
        ({"recipe": {"grid": {"box_size": 16, "voxel_size": 2.0}}}, r"box"),
        ({"entry": {"sequence": "ACDEFGHIKL"}}, r"sequence"),
        ({"entry": {"reference": {"source": "here", "file": "none.pdb"}}}, r"none\.pdb"),
    ],
    ids=["no backbone oxygen", "box too small", "another sequence", "file missing"],
)
def test_unusable_input_is_refused_from_inside_a_task(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str], changes: dict, told: str
) -> None:
    assert re.search(told, refused(tiny_recipe(**changes), tmp_path / "home", capfd))


@pytest.mark.usefixtures("ray_head")
def test_missing_file_of_the_mirror_is_refused(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(tmp_path / "mirror"))
    sources = {"here": {"kind": "local", "folder": "."}, "pdb": {"kind": "pdb", "id": "1abc"}}
    recipe = tiny_recipe(entry={"sources": sources, "reference": {"source": "pdb"}})
    assert "mirror" in refused(recipe, tmp_path / "home", capfd)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_head")
def test_infinite_loss_is_refused_and_a_gentler_recipe_goes_on_from_the_store(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    wild = tiny_recipe(recipe={"stage1": {"steps": 40, "batch_size": 2, "warmup_steps": 0, "learning_rate": 1e30}})
    assert main(["--recipe", str(wild), "--home", str(home)]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "stage1: the loss is not finite at step" in line
    assert "lower stage1.learning_rate (1e+30)" in line
    found = runs(home)
    assert {run.info.status for run in found.values()} == {"FAILED"}
    assert f"error: {found['tiny'].data.tags['error']}" == line
    assert json.loads((one(home, "store") / "manifest.json").read_text())["systems"] == ["one", "two"]


class Remover(threading.Thread):
    """Deletes MLflow's database when the curve of stage 1 has begun."""

    def __init__(self, home: Path):
        super().__init__(daemon=True)
        self.home = home

    def run(self) -> None:
        while not list(self.home.glob("stage1-*/curve.jsonl")):
            time.sleep(0.01)
        (self.home / "mlflow.db").unlink()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_head")
def test_training_outlives_its_mlflow_database(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "stage1": {"steps": 10, "batch_size": 2, "log_every": 2},
        "stage2": {"steps": 10, "batch_size": 2, "log_every": 2, "width": 16, "depth": 1, "heads": 2},
        "tracking": {"patience": 30.0, "pictures": 0},
    }
    home, recipe = tmp_path / "home", tiny_recipe(recipe=changes)
    Remover(home).start()
    assert main(["--recipe", str(recipe), "--home", str(home)]) == 1
    printed = capfd.readouterr()
    lines = [line for line in printed.out.splitlines() if line.startswith("warning:")]
    assert [("the file is gone" in line, "while the work goes on" in line) for line in lines] == [(True, True)]
    (line,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert "mlflow.db cannot be used (the file is gone)" in line
    assert line.endswith("all results are kept, submit the recipe again to log the rest")
    assert (one(home, "stage2") / "model.safetensors").is_file()
    assert (one(home, "evaluate") / "scores.json").is_file()


def test_unreachable_server_is_refused_before_anything_starts(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CRYOFOUND_TRACKING_URI", f"http://127.0.0.1:{closed.getsockname()[1]}")
        for recipe, told in (({}, "Connection refused"), ({"colour": "red"}, "unknown key 'colour'")):
            assert main(["--recipe", str(tiny_recipe(recipe=recipe)), "--home", str(tmp_path / "home")]) == 1
            (line,) = capfd.readouterr().err.splitlines()
            assert line.startswith("error: ")
            assert told in line
    assert not list((tmp_path / "home").iterdir())
