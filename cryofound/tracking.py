"""Runs, curves and artifacts in MLflow. Beside registry.py nothing else imports mlflow."""

import os

# Read when mlflow is first imported: no telemetry, no pickles, no progress bars of its own, no long waits for a server
# that is down, and a new connection for every write, so that a database that was put back is found again.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")

import getpass
import json
import logging
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

from cryofound.config import digest
from cryofound.errors import TrackingError

_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_SQLITE = "sqlite:///"
_LOCKED_SECONDS = 30.0
_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"

Status = Literal["FINISHED", "FAILED", "KILLED"]


def tracking_uri(home: Path) -> str:
    """CRYOFOUND_TRACKING_URI (a server, on a cluster), else a sqlite file in `home`.

    MLFLOW_TRACKING_URI is not asked: MLflow sets it itself, to whatever was used last.
    """
    return os.environ.get("CRYOFOUND_TRACKING_URI") or f"{_SQLITE}{Path(home).resolve() / 'mlflow.db'}"


@dataclass(frozen=True)
class Run:
    """One MLflow run, known by its id; picklable. Every method raises TrackingError where MLflow cannot be reached."""

    uri: str
    run_id: str

    def child(self, name: str, tags: Mapping[str, str]) -> "Run":
        """The run of this name below this one: the one that an earlier submission began, else a new one."""
        with reaching(self.uri) as client:
            experiment = client.get_run(self.run_id).info.experiment_id
            wanted = f"tags.`{_PARENT}` = '{self.run_id}' and attributes.run_name = '{name}'"
            found = client.search_runs([experiment], wanted, max_results=1)
            if found:
                if found[0].info.status != "FINISHED":
                    _reopen(client, found[0].info.run_id)
                return Run(self.uri, found[0].info.run_id)
            own = {_PARENT: self.run_id, "mlflow.user": getpass.getuser(), **tags}
            return Run(self.uri, client.create_run(experiment, run_name=name, tags=own).info.run_id)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; those the run already has are left alone."""
        with reaching(self.uri) as client:
            present = client.get_run(self.run_id).data.params
            rows = [Param(name, _param_text(value)) for name, value in params.items() if name not in present]
            for start in range(0, len(rows), _PARAMS_PER_CALL):
                client.log_batch(self.run_id, params=rows[start : start + _PARAMS_PER_CALL])

    def log_metrics(self, prefix: str, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log (step, name -> value) rows as `prefix/name` in few calls; a row is written whole or not at all."""
        now = int(time.time() * 1000)
        batch: list[Metric] = []
        with reaching(self.uri) as client:
            for step, row in rows:
                metrics = [Metric(f"{prefix}/{name}".lstrip("/"), value, now, step) for name, value in row.items()]
                if len(batch) + len(metrics) > _METRICS_PER_CALL:
                    client.log_batch(self.run_id, metrics=batch)
                    batch = []
                batch += metrics
            if batch:
                client.log_batch(self.run_id, metrics=batch)

    def log_once(self, key: str, value: str, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log rows and the tag `key` together, unless the run has the tag with this value: then it has the rows."""
        with reaching(self.uri) as client:
            if client.get_run(self.run_id).data.tags.get(key) != value:
                self.log_metrics("", rows)
                client.set_tag(self.run_id, key, value)

    def add_to_metric(self, name: str, value: float) -> None:
        """Log the sum of a metric's last value and this one, a step later."""
        with reaching(self.uri) as client:
            points = client.get_metric_history(self.run_id, name)
            last = max(points, key=lambda point: point.step, default=None)
            client.log_metric(
                self.run_id, name, value + (last.value if last else 0.0), step=last.step + 1 if last else 0
            )

    def last_step(self, metric: str) -> int:
        """The highest step logged of a metric, -1 for none: a resumed run logs only what lies above it."""
        with reaching(self.uri) as client:
            return max((point.step for point in client.get_metric_history(self.run_id, metric)), default=-1)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or overwrite tags."""
        with reaching(self.uri) as client:
            client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file, or the files below a folder, to the run's artifacts; one that is there in its size is left."""
        path = Path(path)
        files = [each for each in sorted(path.rglob("*")) if each.is_file()] if path.is_dir() else [path]
        with reaching(self.uri) as client:
            present: dict[str | None, dict[str, int | None]] = {}
            for each in files:
                inside = each.parent.relative_to(path if path.is_dir() else path.parent).as_posix()
                place = "/".join(part for part in (folder, inside) if part and part != ".") or None
                if place not in present:
                    there = client.list_artifacts(self.run_id, place)
                    present[place] = {Path(other.path).name: other.file_size for other in there}
                if present[place].get(each.name) != each.stat().st_size:
                    client.log_artifact(self.run_id, str(each), place)

    def end(self, status: Status, error: str = "") -> None:
        """Close the run; `error` (one line) becomes its tag."""
        if error:
            self.set_tags({"error": error})
        with reaching(self.uri) as client:
            client.set_terminated(self.run_id, status=status)


class Curve:
    """The rows of a run by step, each logged once, also where another process or a failed attempt logged some before.

    `mark` is a metric that every row has.
    """

    def __init__(self, run: Run, mark: str):
        self.run, self.mark = run, mark
        self._logged: int | None = None

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log those of the rows (step, name -> value), oldest first, that the run does not have."""
        logged = self.run.last_step(self.mark) if self._logged is None else self._logged
        new = [row for row in rows if row[0] > logged]
        self._logged = None  # what is written is asked again if this fails halfway
        self.run.log_metrics("", new)
        self._logged = new[-1][0] if new else logged


def open_run(home: Path, experiment: str, name: str, recipe_digest: str, tags: Mapping[str, str]) -> Run:
    """The run of a recipe: the one an earlier submission began (its id is kept in `home`), else a new one.

    Raises TrackingError, in one line that says what to do, where MLflow cannot be reached.
    """
    home = Path(home)
    home.mkdir(parents=True, exist_ok=True)
    uri = tracking_uri(home)
    quiet_logs()
    check_sqlite(uri)
    remembered = home / f"run-{name}-{recipe_digest}.json"
    with reaching(uri) as client:
        if remembered.is_file():
            run = Run(uri, json.loads(remembered.read_text())["run_id"])
            if _exists(client, run.run_id):
                _reopen(client, run.run_id)
                run.set_tags(tags)
                return run
        found = client.get_experiment_by_name(experiment)
        # The artifact root belongs to the experiment, so it is given once; a server chooses its own.
        root = (home.resolve() / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
        experiment_id = found.experiment_id if found else client.create_experiment(experiment, artifact_location=root)
        created = client.create_run(experiment_id, run_name=name, tags={"mlflow.user": getpass.getuser(), **tags})
    written = remembered.with_suffix(".partial")
    written.write_text(json.dumps({"run_id": created.info.run_id}) + "\n")
    os.replace(written, remembered)
    return Run(uri, created.info.run_id)


def record_failure(home: Path, experiment: str, name: str, error: str) -> Run:
    """A run that says FAILED and why, for input that was refused before its recipe could be read."""
    run = open_run(home, experiment, name, digest(name, error), {})
    run.end("FAILED", error)
    return run


def recipe_params(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings flattened to `section.key` -> value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= recipe_params(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


@contextmanager
def reaching(uri: str) -> Iterator[MlflowClient]:
    """A client of `uri`; what keeps it from being read or written in the block becomes one TrackingError."""
    database = _sqlite_file(uri)
    if database and not database.is_file():  # MLflow would make an empty one, and find no run in it
        raise TrackingError(_unreachable(uri, "the file is gone"))
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, OSError) as error:
        if getattr(error, "error_code", None) == ErrorCode.Name(INVALID_PARAMETER_VALUE):
            raise  # a fault of this program
        raise TrackingError(_unreachable(uri, _reason(error))) from error


def quiet_logs() -> None:
    """No lines of MLflow's own: what matters in them is in our errors."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def sqlite_exists(uri: str) -> bool:
    """Whether the database is there; of a server, which is not asked, always."""
    database = _sqlite_file(uri)
    return database is None or database.exists()


def check_sqlite(uri: str) -> None:
    """Raise TrackingError unless the database can be written; MLflow itself tries for minutes."""
    database = _sqlite_file(uri)
    if database is None:
        return
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=_LOCKED_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except (sqlite3.Error, OSError) as error:
        raise TrackingError(_unreachable(uri, _reason(error))) from error


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]) if uri.startswith(_SQLITE) else None


def _unreachable(uri: str, reason: str) -> str:
    place = re.sub(r"//[^/@]*@", "//", uri)  # without a password
    return (
        f"MLflow at {place} cannot be used ({reason}); free, mend or start it, or set CRYOFOUND_TRACKING_URI to another"
    )


def _reason(error: BaseException) -> str:
    """The first line of what an error goes back to: a refused connection, a lock."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # pyright: ignore[reportAssignmentType]  # one of them is there
    return (str(error).splitlines() or [type(error).__name__])[0]


def _reopen(client: MlflowClient, run_id: str) -> None:
    """Say that a run goes on, and forget why it had ended."""
    client.update_run(run_id, status="RUNNING")
    if "error" in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, "error")


def _exists(client: MlflowClient, run_id: str) -> bool:
    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):  # deleted for good, or another database
            return False
        raise


def _param_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
