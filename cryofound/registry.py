"""The registered model: versions, their aliases, and the run that made each."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from cryofound.errors import RecipeError, StoreError
from cryofound.tracking import Run, check_sqlite, quiet_logs, reaching, sqlite_exists, tracking_uri

if TYPE_CHECKING:  # networks take seconds to import, which no one who lists models should pay
    from cryofound.sampling.flow_model import FlowModel
    from cryofound.sampling.model_card import ModelCard

REGISTERED, OF_RUN = "models:/", "runs:/"
LATEST = "latest"  # the alias that MLflow reserves for the highest version
# error codes of MLflow for what does not exist
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
_MODEL_CODE = Path(__file__).with_name("registered_model.py")
_ARTIFACT = "model"
_NAMED = re.compile(r"(?P<name>[^@/]+)(@(?P<alias>[^@/]+)|/(?P<version>\d+))?")
_DESCRIPTION = 5000  # characters that MLflow's database has room for
_MANY = 1000

Found = TypeVar("Found")


@dataclass(frozen=True)
class Version:
    """One version of a registered model; made is ISO 8601, UTC."""

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    made: str


def register_model(run: Run, name: str, folder: Path) -> int:
    """Register a model folder (sampling/model_folder.py) as a new version of `name`; its number.

    MLflow keeps the source text of registered_model.py and the files: no pickles. The card becomes the version's
    description and tags. The alias `latest` need not be set: MLflow reserves it for the highest version
    (`models:/<name>@latest`). Raises TrackingError where MLflow cannot be reached.
    """
    import mlflow  # here: tracking.py has to set its environment first

    from cryofound.sampling.model_card import card_tags, card_text
    from cryofound.sampling.model_folder import read_card

    card = read_card(folder)
    with reaching(run.uri) as client:
        mlflow.set_tracking_uri(run.uri)
        mlflow.set_registry_uri(run.uri)
        with mlflow.start_run(run_id=run.run_id):
            info = mlflow.pyfunc.log_model(
                name=_ARTIFACT,
                python_model=str(_MODEL_CODE),
                artifacts={part.name: part.resolve().as_uri() for part in sorted(Path(folder).iterdir())},
                pip_requirements=["cryofound"],  # given: otherwise a process is started to infer them
                registered_model_name=name,
            )
        client.update_run(run.run_id, status="RUNNING")  # leaving start_run closed it
        version = info.registered_model_version
        assert version is not None  # log_model was given a name to register
        client.update_model_version(name, str(version), description=card_text(card)[:_DESCRIPTION])
        for key, value in card_tags(card).items():
            client.set_model_version_tag(name, str(version), key, value)
    return int(version)


def load_model(name: str, home: Path) -> "FlowModel":
    """The model that `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN` or a folder names, with its members.

    A folder is one of sampling/model_folder.py, a home or a finished stage 2. Every file is compared with its checksum,
    and none is unpickled. Raises RecipeError for what does not exist, StoreError for what is damaged, of another schema
    or registered without members, TrackingError where MLflow cannot be reached.
    """
    from cryofound.sampling.model_folder import read_model, read_model_folder

    if name.startswith((REGISTERED, OF_RUN)):
        return _fetched(name, home, read_model_folder)
    return read_model(Path(name))


@cache
def kept_model(name: str, home: Path) -> "FlowModel":
    """As `load_model`, once in a process: for a worker that is given one task after another."""
    return load_model(name, home)


def load_card(name: str, home: Path) -> "ModelCard":
    """The card of a registered model or a model folder; names and errors as of `load_model`."""
    from cryofound.sampling.model_folder import read_card

    return _fetched(name, home, read_card) if name.startswith((REGISTERED, OF_RUN)) else read_card(Path(name))


def fetch_model(home: Path, uri: str, folder: Path) -> Path:
    """Copy what `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/RUN/PATH` names into `folder`; where it lies.

    Raises RecipeError if there is no such thing, TrackingError where MLflow cannot be reached.
    """
    import mlflow  # here: tracking.py has to set its environment first
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    if uri.startswith(REGISTERED):
        version = find_version(home, uri)
        uri = f"{REGISTERED}{version.name}/{version.version}"
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


def find_version(home: Path, name: str) -> Version:
    """The registered version that NAME@ALIAS, NAME/VERSION or NAME (the latest) means, with or without `models:/`.

    Raises RecipeError, in one line that lists what there is, for an unknown one.
    """
    given = _NAMED.fullmatch(name.removeprefix(REGISTERED))
    if given is None:
        raise RecipeError(f"{name}: no name of a registered model; give NAME@ALIAS or NAME/VERSION")
    versions = registered_models(home)
    own = [each for each in versions if each.name == given["name"]]
    if not own:
        there = ", ".join(sorted({each.name for each in versions})) or "none"
        raise RecipeError(
            f"{name}: no model {given['name']} in {tracking_uri(home)}, which has {there}; `cryofound models list` "
            "shows them, --home or CRYOFOUND_HOME names another home"
        )
    if given["version"]:
        found = [each for each in own if each.version == int(given["version"])]
        there = f"no version {given['version']}; {given['name']} has {', '.join(str(each.version) for each in own)}"
        way_out = "`cryofound models list` shows them"
    else:
        alias = given["alias"] or LATEST
        found = [each for each in own if alias in each.aliases]
        aliases = ", ".join(f"{each} (version {version.version})" for version in own for each in version.aliases)
        there = f"no alias {alias}; {given['name']} has {aliases}"
        way_out = f"`cryofound models promote {given['name']}/VERSION {alias}` sets it"
    if not found:
        raise RecipeError(f"{name}: {there}; {way_out}")
    return found[0]


def promote(home: Path, name: str, alias: str) -> tuple[Version, int | None]:
    """Point an alias to a version (as of `find_version`); the version, and the number it pointed to before, if any.

    Raises RecipeError for a version that does not exist and for an alias that MLflow does not take.
    """
    from mlflow.exceptions import MlflowException

    version = find_version(home, name)
    before = [each.version for each in registered_models(home) if each.name == version.name and alias in each.aliases]
    with reaching(tracking_uri(home)) as client:
        try:
            client.set_registered_model_alias(version.name, alias, str(version.version))
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise RecipeError(f"alias {alias}: {str(error).splitlines()[0].rstrip('.')}; choose another") from error
    return version, before[0] if before else None


def registered_models(home: Path) -> list[Version]:
    """Every registered version, by name and newest first."""
    uri = tracking_uri(home)
    if not sqlite_exists(uri):
        return []  # MLflow would make it
    quiet_logs()
    check_sqlite(uri)
    found = []
    with reaching(uri) as client:
        for model in client.search_registered_models(max_results=_MANY):
            aliases = {LATEST: client.get_model_version_by_alias(model.name, LATEST).version} | model.aliases
            for version in client.search_model_versions(f"name='{model.name}'"):
                number = int(version.version)
                made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(version.creation_timestamp / 1000))
                own = tuple(alias for alias, other in aliases.items() if int(other) == number)
                found.append(Version(model.name, number, own, str(version.run_id), made))
    return sorted(found, key=lambda each: (each.name, -each.version))


def _fetched(name: str, home: Path, read: Callable[[Path], Found]) -> Found:
    """What `read` makes of a model folder in MLflow; an error names the model in the place of the folder's copy."""
    uri = f"{name}/{_ARTIFACT}" if re.fullmatch(rf"{OF_RUN}[^/]+", name) else name
    with TemporaryDirectory() as aside:
        folder = fetch_model(home, uri, Path(aside)) / "artifacts"
        if not folder.is_dir() or not any(folder.iterdir()):
            raise StoreError(
                f"{name}: none of its files is where MLflow was told to keep them; a home that was moved has to be "
                "moved back, or give the model's own folder (register-*/model)"
            )
        try:
            return read(folder)
        except StoreError as error:
            raise StoreError(str(error).replace(str(folder), name)) from None
