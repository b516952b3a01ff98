"""Tracking, read back through MLflow's own client."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from cryofound import tracking
from cryofound.config import Recipe


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the module: making its database takes seconds."""
    return tmp_path_factory.mktemp("home")


def open_run(home: Path, name: str) -> tracking.Run:
    return tracking.open_run(home, "experiment", name, "0123", {"recipe": "0123"})


def client(home: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")


def test_resubmission_goes_on_in_the_same_run(home: Path) -> None:
    first = open_run(home, "again")
    first.end("KILLED")
    assert client(home).get_run(first.run_id).info.status == "KILLED"
    second = open_run(home, "again")
    assert second == first
    assert client(home).get_run(first.run_id).info.status == "RUNNING"
    assert open_run(home, "another") != first


def test_curves_parameters_tags_and_artifacts_are_read_back(home: Path, tmp_path: Path) -> None:
    run = open_run(home, "content")
    recipe = Recipe(name="content", entries=("a.yaml", "b.yaml"), seed=4)
    run.log_params(tracking.recipe_params(recipe))
    run.log_params(tracking.recipe_params(recipe))  # a resubmission logs them again
    assert run.last_step("stage1/total") == -1
    run.log_metrics("stage1", [(step, {"total": 1.0 / step, "ncc": 0.5}) for step in range(1, 1501)])
    assert run.last_step("stage1/total") == 1500
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.txt").write_text("a")
    run.log_artifact(tmp_path, "folder")
    run.end("FINISHED")

    stored = client(home).get_run(run.run_id)
    assert stored.data.params["seed"] == "4"
    assert stored.data.params["entries"] == '["a.yaml", "b.yaml"]'
    assert stored.data.params["grid.box_size"] == "64"
    assert stored.data.tags["recipe"] == "0123"
    history = client(home).get_metric_history(run.run_id, "stage1/total")
    assert {point.step: point.value for point in history} == {step: 1.0 / step for step in range(1, 1501)}
    assert (home / "mlartifacts" / run.run_id / "artifacts" / "folder" / "inner" / "a.txt").read_text() == "a"
    assert stored.info.status == "FINISHED"


def test_refused_input_is_a_failed_run_with_the_reason(home: Path) -> None:
    run = tracking.record_failure(home, "experiment", "wrong", "wrong.yaml: unknown key 'x'")
    stored = client(home).get_run(run.run_id)
    assert stored.info.status == "FAILED"
    assert stored.data.tags["error"] == "wrong.yaml: unknown key 'x'"


def test_forgotten_run_is_begun_anew(home: Path) -> None:
    first = open_run(home, "deleted")
    client(home).delete_run(first.run_id)
    assert open_run(home, "deleted") != first


def test_no_models_in_a_new_home(home: Path) -> None:
    assert tracking.registered_models(home) == []
