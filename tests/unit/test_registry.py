"""The registry, in a database of its own: what is registered is found by every name and read back only if whole."""

import pickle
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from cryofound import registry
from cryofound.ensemble.store import read_system, system_folder
from cryofound.errors import RecipeError, StoreError
from cryofound.registry import find_version, load_card, load_model, promote, registered_models
from cryofound.sampling.model_folder import read_model
from cryofound.sampling.zero_shot import sample_system

_ID = "0123456789ab"


@pytest.fixture
def home(registry_home: Path) -> Path:
    return registry_home


def run_id(home: Path) -> str:
    return find_version(home, "hinges").run_id


def test_every_name_means_the_model_that_was_registered(home: Path) -> None:
    expected = read_model(home / "model")
    for name in ("models:/hinges@production", "models:/hinges/2", f"runs:/{run_id(home)}", str(home / "model")):
        found = load_model(name, home)
        assert found.recipe == expected.recipe
        for one, other in zip(found.members, expected.members, strict=True):
            np.testing.assert_array_equal(one.displacements, other.displacements)
        for key, value in found.vae.state_dict().items():
            np.testing.assert_array_equal(value, expected.vae.state_dict()[key])
        assert load_card(name, home).families("train") == {"hinges": ["one", "two"]}


def test_the_card_is_the_description_and_the_tags_of_the_version(home: Path) -> None:
    version = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}").get_model_version("hinges", "2")
    assert version.description is not None
    assert version.description.startswith("# hinges\n")
    assert "## What it must not be used for" in version.description
    assert version.tags["families"] == "hinges"


def test_nothing_in_the_registry_is_a_pickle(home: Path) -> None:
    files = [path for path in (home / "mlartifacts").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".py", ".txt", ".yaml", ".jsonl", ""}
    assert not [path for path in files if path.read_bytes()[:1] == pickle.PROTO]


def test_mlflow_itself_loads_it_and_draws(home: Path, trained_home: Path) -> None:
    store = trained_home / f"store-{_ID}"
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    loaded = mlflow.pyfunc.load_model("models:/hinges@production")
    (drawn,) = loaded.predict([{"store": str(store), "system_id": "away", "seed": 3}])
    expected = sample_system(read_model(home / "model"), read_system(system_folder(store, "away")), 3)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "models:/hinges@staging",
            r"no alias staging; hinges has latest \(version 2\), .*production \(version 1\).*; "
            "`cryofound models promote hinges/VERSION staging` sets it",
        ),
        ("models:/hinges/7", "no version 7; hinges has 2, 1; `cryofound models list` shows them"),
        ("models:/hings@production", "no model hings in sqlite.*, which has hinges, old; `cryofound models list`"),
        ("models:/hinges/Production", "no name of a registered model; give NAME@ALIAS or NAME/VERSION"),
        ("runs:/0123", "runs:/0123/model: .*0123.* not found"),
        ("hinges@production", "no such folder; give one, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN"),
    ],
)
def test_unknown_names_are_refused_in_a_line_that_lists_what_there_is(home: Path, name: str, told: str) -> None:
    with pytest.raises(RecipeError, match=f"^({name}: )?{told}") as refusal:
        load_model(name, home)
    assert "\n" not in str(refusal.value)


def test_promotion_says_what_the_alias_was_before_and_refuses_what_is_not_there(home: Path) -> None:
    for name, before in (("hinges/1", None), ("hinges/2", 1), ("hinges/2", 2), ("hinges@production", 2)):
        version, was = promote(home, name, "tried")
        assert was == before
        assert find_version(home, "models:/hinges@tried").version == version.version
    assert find_version(home, "hinges@tried").version == 1
    with pytest.raises(RecipeError, match="hinges/9: no version 9; hinges has 2, 1"):
        promote(home, "hinges/9", "tried")
    for alias in ("latest", "v3", "a/b"):
        with pytest.raises(RecipeError, match=f"^alias {alias}: .*; choose another"):
            promote(home, "hinges/1", alias)
    assert [each.version for each in registered_models(home) if "latest" in each.aliases] == [2, 1]  # hinges and old


def test_a_version_without_members_is_to_be_registered_again(home: Path, tmp_path: Path) -> None:
    for read in (load_model, load_card):
        with pytest.raises(StoreError, match=r"^models:/old/1: registered by an older program, .* registers it again$"):
            read("models:/old/1", home)
    assert registry.fetch_model(home, "models:/old@latest", tmp_path).is_dir()  # to start a fine-tuning from


def test_a_home_that_was_moved_says_so(home: Path) -> None:
    (home / "mlartifacts").rename(home / "elsewhere")
    try:
        with pytest.raises(StoreError, match=r"^models:/hinges/1: none of its files .* give the model's own folder"):
            load_model("models:/hinges/1", home)
    finally:
        (home / "elsewhere").rename(home / "mlartifacts")


def test_to_ask_what_there_is_makes_nothing(tmp_path: Path) -> None:
    assert registered_models(tmp_path / "mistyped") == []
    with pytest.raises(RecipeError, match="--home or CRYOFOUND_HOME names another home"):
        load_model("models:/hinges/1", tmp_path / "mistyped")
    assert not list(tmp_path.iterdir())


def test_damage_in_the_registry_is_told_by_the_name_of_the_model(home: Path) -> None:
    path = min((home / "mlartifacts").rglob("artifacts/members/members.safetensors"))
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    told = []
    for number in (1, 2):
        try:
            load_model(f"models:/hinges/{number}", home)
        except StoreError as error:
            told.append(str(error))
    path.write_bytes(kept)
    (line,) = told
    assert line.startswith(("models:/hinges/1/members/members.safetensors: ", "models:/hinges/2/members/members."))
    assert "checksum differs from its manifest" in line
    assert not [name for name in ("1", "2") if not load_model(f"models:/hinges/{name}", home).members]
