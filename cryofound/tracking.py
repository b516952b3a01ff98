"""Runs, curves, artifacts and the registered model in MLflow. Nothing else imports mlflow."""

import os

# Read when mlflow is first imported: no telemetry, no pickles, no progress bars of its own.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from cryofound.config import Recipe, digest

_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_MODEL_CODE = Path(__file__).with_name("registered_model.py")


def tracking_uri(home: Path) -> str:
    """CRYOFOUND_TRACKING_URI (a server, on a cluster), else a sqlite file in `home`.

    MLFLOW_TRACKING_URI is not asked: MLflow sets it itself, to whatever was used last.
    """
    return os.environ.get("CRYOFOUND_TRACKING_URI") or f"sqlite:///{Path(home).resolve() / 'mlflow.db'}"


@dataclass(frozen=True)
class Run:
    """One MLflow run, known by its id; picklable, so that a worker can go on with what the driver began."""

    uri: str
    run_id: str

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; those the run already has are left alone."""
        present = self._client().get_run(self.run_id).data.params
        rows = [Param(name, _param_text(value)) for name, value in params.items() if name not in present]
        for start in range(0, len(rows), _PARAMS_PER_CALL):
            self._client().log_batch(self.run_id, params=rows[start : start + _PARAMS_PER_CALL])

    def log_metrics(self, prefix: str, rows: list[tuple[int, Mapping[str, float]]]) -> None:
        """Log (step, name -> value) rows as `prefix/name` in few calls."""
        now = int(time.time() * 1000)
        metrics = [Metric(f"{prefix}/{name}", value, now, step) for step, row in rows for name, value in row.items()]
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            self._client().log_batch(self.run_id, metrics=metrics[start : start + _METRICS_PER_CALL])

    def last_step(self, metric: str) -> int:
        """The highest step logged of a metric, -1 for none: a resumed run logs only what lies above it."""
        return max((point.step for point in self._client().get_metric_history(self.run_id, metric)), default=-1)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or overwrite tags."""
        self._client().log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or a folder to the run's artifacts."""
        path = Path(path)
        if path.is_dir():
            self._client().log_artifacts(self.run_id, str(path), folder)
        else:
            self._client().log_artifact(self.run_id, str(path), folder)

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"], error: str = "") -> None:
        """Close the run; `error` (one line) becomes its tag."""
        if error:
            self.set_tags({"error": error})
        self._client().set_terminated(self.run_id, status=status)

    def _client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)


def open_run(home: Path, experiment: str, name: str, recipe_digest: str, tags: Mapping[str, str]) -> Run:
    """The run of a recipe: the one an earlier submission began (its id is kept in `home`), else a new one."""
    home = Path(home)
    home.mkdir(parents=True, exist_ok=True)
    uri = tracking_uri(home)
    _quiet_logs()
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    remembered = home / f"run-{name}-{recipe_digest}.json"
    if remembered.is_file():
        run = Run(uri, json.loads(remembered.read_text())["run_id"])
        if _exists(client, run.run_id):
            client.update_run(run.run_id, status="RUNNING")
            run.set_tags(tags)
            return run
    found = client.get_experiment_by_name(experiment)
    # The artifact root belongs to the experiment, so it is given once; a server chooses its own.
    root = (home.resolve() / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
    experiment_id = found.experiment_id if found else client.create_experiment(experiment, artifact_location=root)
    created = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    written = remembered.with_suffix(".partial")
    written.write_text(json.dumps({"run_id": created.info.run_id}) + "\n")
    os.replace(written, remembered)
    return Run(uri, created.info.run_id)


def record_failure(home: Path, experiment: str, name: str, error: str) -> Run:
    """A run that says FAILED and why, for input that was refused before its recipe could be read."""
    run = open_run(home, experiment, name, digest(name, error), {})
    run.end("FAILED", error)
    return run


def recipe_params(recipe: Recipe) -> dict[str, Any]:
    """A recipe flattened to `section.key` -> value."""
    flat: dict[str, Any] = {}
    for key, value in recipe.model_dump(mode="json").items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": inner_value for inner, inner_value in value.items()}
        else:
            flat[key] = value
    return flat


def register_model(run: Run, name: str, folders: Mapping[str, Path]) -> int:
    """Register folders of safetensors and JSON as a new version of `name`; its number.

    MLflow keeps the source text of registered_model.py and the files: no pickles. The alias `latest` need not be set:
    MLflow reserves it for the highest version (`models:/<name>@latest`).
    """
    mlflow.set_tracking_uri(run.uri)
    mlflow.set_registry_uri(run.uri)
    with mlflow.start_run(run_id=run.run_id):
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_MODEL_CODE),
            artifacts={key: Path(folder).resolve().as_uri() for key, folder in folders.items()},
            pip_requirements=["cryofound"],  # given: otherwise a process is started to infer them
            registered_model_name=name,
        )
    client = MlflowClient(tracking_uri=run.uri, registry_uri=run.uri)
    client.update_run(run.run_id, status="RUNNING")  # leaving start_run closed it
    assert info.registered_model_version is not None  # log_model was given a name to register
    return int(info.registered_model_version)


def registered_models(home: Path) -> list[dict[str, str]]:
    """Every registered version with its aliases, run id and when it was made (ISO 8601, UTC)."""
    uri = tracking_uri(home)
    _quiet_logs()
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    rows = []
    for model in client.search_registered_models():
        aliases = {"latest": client.get_model_version_by_alias(model.name, "latest").version} | model.aliases
        for version in client.search_model_versions(f"name='{model.name}'"):
            number = int(version.version)
            made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(version.creation_timestamp / 1000))
            rows.append(
                {
                    "name": model.name,
                    "version": str(number),
                    "aliases": ", ".join(alias for alias, other in aliases.items() if int(other) == number),
                    "run_id": str(version.run_id),
                    "made": made,
                }
            )
    return rows


def _exists(client: MlflowClient, run_id: str) -> bool:
    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:  # deleted for good, or another database
        return False


def _param_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _quiet_logs() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
