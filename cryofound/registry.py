"""The registered model: versions, their aliases, and the run that made each."""

import time
from collections.abc import Mapping
from pathlib import Path

from cryofound.errors import RecipeError
from cryofound.tracking import Run, check_sqlite, quiet_logs, reaching, tracking_uri

# error codes of MLflow for what does not exist
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
_MODEL_CODE = Path(__file__).with_name("registered_model.py")


def register_model(run: Run, name: str, folders: Mapping[str, Path]) -> int:
    """Register folders of safetensors and JSON as a new version of `name`; its number.

    MLflow keeps the source text of registered_model.py and the files: no pickles. The alias `latest` need not be set:
    MLflow reserves it for the highest version (`models:/<name>@latest`). Raises TrackingError where MLflow cannot be
    reached.
    """
    import mlflow  # here: tracking.py has to set its environment first

    with reaching(run.uri) as client:
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
        client.update_run(run.run_id, status="RUNNING")  # leaving start_run closed it
    assert info.registered_model_version is not None  # log_model was given a name to register
    return int(info.registered_model_version)


def fetch_model(home: Path, uri: str, folder: Path) -> Path:
    """Copy what `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/RUN/PATH` names into `folder`; where it lies.

    Raises RecipeError if there is no such thing, TrackingError where MLflow cannot be reached.
    """
    import mlflow  # here: tracking.py has to set its environment first
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    tracked = tracking_uri(home)
    quiet_logs()
    check_sqlite(tracked)
    with reaching(tracked):
        mlflow.set_tracking_uri(tracked)
        mlflow.set_registry_uri(tracked)
        try:
            return Path(download_artifacts(uri, dst_path=str(folder), tracking_uri=tracked))
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            reason = str(error).splitlines()[0].rstrip(".")
            raise RecipeError(f"{uri}: {reason} in {tracked}; `cryofound models list` shows what is there") from error


def registered_models(home: Path) -> list[dict[str, str]]:
    """Every registered version with its aliases, run id and when it was made (ISO 8601, UTC)."""
    uri = tracking_uri(home)
    quiet_logs()
    check_sqlite(uri)
    rows = []
    with reaching(uri) as client:
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
