"""Tracking, read back through MLflow's own client; locked, gone and unreachable databases are real ones."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cryofound import registry, tracking
from cryofound.config import Recipe
from cryofound.errors import TrackingError
from cryofound.outbox import Outbox


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the module: making its database takes seconds."""
    return tmp_path_factory.mktemp("home")


def open_run(home: Path, name: str) -> tracking.Run:
    return tracking.open_run(home, "experiment", name, "0123", {"recipe": "0123"})


def client(home: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")


@contextmanager
def locked(database: Path, seconds: float) -> Iterator[None]:
    """Another process holds the write lock of a sqlite file for so long, or until the block ends."""
    hold = (
        "import sqlite3, sys, time; held = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "held.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(float(sys.argv[2]))"
    )
    command = [sys.executable, "-c", hold, str(database), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            process.kill()


def steps(home: Path, run: tracking.Run, metric: str) -> list[int]:
    return [point.step for point in client(home).get_metric_history(run.run_id, metric)]


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
    run.log_params(tracking.recipe_params(recipe.model_dump(mode="json")))
    run.log_params(tracking.recipe_params(recipe.model_dump(mode="json")))  # a resubmission logs them again
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
    assert stored.data.params["sampling.repair.iterations"] == "80"
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
    assert registry.registered_models(home) == []


def test_children_are_found_again_by_name(home: Path) -> None:
    parent = open_run(home, "parent")
    stage = parent.child("stage1", {"stage": "stage1"})
    stage.end("KILLED")
    system = parent.child("hinges/one", {"system": "one"})
    system.end("FINISHED")
    again = open_run(home, "parent")
    assert again.child("stage1", {}) == stage
    assert again.child("hinges/one", {}) == system
    assert open_run(home, "other parent").child("stage1", {}) != stage
    stored = {name: client(home).get_run(run.run_id) for name, run in (("stage", stage), ("system", system))}
    assert stored["stage"].data.tags["mlflow.parentRunId"] == parent.run_id
    # what is finished stays so, what was killed goes on
    assert (stored["stage"].info.status, stored["system"].info.status) == ("RUNNING", "FINISHED")


def test_no_step_of_a_curve_is_logged_twice(home: Path) -> None:
    run = open_run(home, "curve")
    rows = [(step, {"total": 1.0 / step}) for step in range(1, 9)]
    first = tracking.Curve(run, "total")
    first.log(rows[:3])
    first.log(rows[:5])
    tracking.Curve(run, "total").log(rows)  # of a later process
    assert steps(home, run, "total") == list(range(1, 9))


def test_scores_are_logged_once_for_what_they_are_of(home: Path) -> None:
    run = open_run(home, "scores")
    for value, folder in ((1.0, "evaluate-a"), (1.0, "evaluate-a"), (2.0, "evaluate-b")):
        run.log_once("scores", folder, [(0, {"recall": value})])
    points = client(home).get_metric_history(run.run_id, "recall")
    assert [point.value for point in points] == [1.0, 2.0]


def test_times_add_up(home: Path) -> None:
    run = open_run(home, "times")
    for seconds in (5.0, 2.5):
        run.add_to_metric("seconds/stage1", seconds)
    assert client(home).get_run(run.run_id).data.metrics["seconds/stage1"] == 7.5


def test_run_that_goes_on_forgets_its_error(home: Path) -> None:
    open_run(home, "mended").end("FAILED", "no memory")
    assert "error" not in client(home).get_run(open_run(home, "mended").run_id).data.tags


def test_artifact_of_the_same_size_is_left(home: Path, tmp_path: Path) -> None:
    run = open_run(home, "artifacts")
    stored = home / "mlartifacts" / run.run_id / "artifacts"
    file = tmp_path / "weights.bin"
    for text, kept in (("one", "one"), ("two", "one"), ("three", "three")):
        file.write_text(text)
        run.log_artifact(file, "export")
        assert (stored / "export" / "weights.bin").read_text() == kept


def test_writes_wait_for_a_locked_database_and_nothing_waits_for_them(home: Path) -> None:
    run = open_run(home, "locked")
    curve, told = tracking.Curve(run, "total"), []
    outbox = Outbox(told.append)
    outbox.put(lambda: curve.log([(1, {"total": 1.0})]))
    outbox.flush(20)
    with locked(home / "mlflow.db", 22.0):  # MLflow itself gives up after 20
        began = time.monotonic()
        for last in range(2, 6):
            rows = [(step, {"total": 1.0 / step}) for step in range(1, last + 1)]
            outbox.put(lambda rows=rows: curve.log(rows))
        assert time.monotonic() - began < 0.5
        with pytest.raises(TrackingError, match=r"mlflow\.db cannot be used \(database is locked\)"):
            outbox.flush(21.0)
        outbox.flush(30.0)
    assert steps(home, run, "total") == [1, 2, 3, 4, 5]
    assert "database is locked" in told[0]
    assert told[1:] == ["MLflow can be written again"]
    outbox.close(1)


def test_database_that_is_put_back_gets_what_it_missed(tmp_path: Path, home: Path) -> None:
    run = open_run(home, "gone")
    database, aside = home / "mlflow.db", tmp_path / "aside.db"
    curve, told = tracking.Curve(run, "total"), []
    outbox = Outbox(told.append)
    database.rename(aside)
    outbox.put(lambda: curve.log([(1, {"total": 1.0})]))
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be used \(the file is gone\)"):
        outbox.flush(0.3)
    assert not database.exists()
    aside.rename(database)
    outbox.close(20)
    assert steps(home, run, "total") == [1]
    assert len(told) == 2


def test_closed_box_gives_up(home: Path) -> None:
    run = open_run(home, "never back")
    outbox = Outbox(lambda _: None)
    database = home / "mlflow.db"
    database.rename(home / "aside.db")
    outbox.put(lambda: run.set_tags({"a": "b"}))
    began = time.monotonic()
    with pytest.raises(TrackingError, match="the file is gone"):
        outbox.close(0.2)
    assert time.monotonic() - began < 1.0
    (home / "aside.db").rename(database)


def test_fault_of_the_program_is_no_outage(home: Path) -> None:
    outbox = Outbox(lambda _: None)
    outbox.put(lambda: [][0])
    with pytest.raises(IndexError):
        outbox.flush(5)
    outbox.close(0)


def test_unreachable_server_is_one_line_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("CRYOFOUND_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
        began = time.monotonic()
        with pytest.raises(TrackingError) as refused:
            open_run(tmp_path, "unreachable")
    assert time.monotonic() - began < 20
    assert str(refused.value) == (
        f"MLflow at http://127.0.0.1:{port} cannot be used ([Errno 111] Connection refused); "
        "free, mend or start it, or set CRYOFOUND_TRACKING_URI to another"
    )


@pytest.mark.parametrize("content", ["not a database" * 100, None], ids=["damaged", "folder in its place"])
def test_unusable_file_is_one_line_at_the_start(tmp_path: Path, content: str | None) -> None:
    database = tmp_path / "mlflow.db"
    database.mkdir() if content is None else database.write_text(content)
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be used \((file is not a database|unable to open)"):
        open_run(tmp_path, "unusable")
