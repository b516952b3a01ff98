"""A model folder gives back the model that was written, is refused if anything is changed, and opens no pickle."""

import json
import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryofound.config import Recipe
from cryofound.ensemble.store import read_system, system_folder
from cryofound.errors import RecipeError, StoreError
from cryofound.manifest import NAME, is_finished, write_manifest
from cryofound.sampling.flow_model import FlowModel, load_flow_model
from cryofound.sampling.model_folder import read_card, read_model, write_model_folder
from cryofound.sampling.zero_shot import sample_system
from cryofound.training.checkpoints import WEIGHTS
from tests.made_models import RECIPE, TRAINED

_ID = "0123456789ab"
SCORES = {"away": {"recall_rmsd": 1.5, "static_rmsd": 2.5}}


def write(home: Path, folder: Path, recipe: Recipe = RECIPE) -> Path:
    parts = [home / f"{name}-{_ID}" for name in ("store", "stage1", "stage2")]
    write_model_folder(folder, recipe, *parts, scores=SCORES)
    return folder


@pytest.fixture(scope="module")
def written(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(trained_home, tmp_path_factory.mktemp("models") / "hinges")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(written, tmp_path / "hinges"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def drawn(model: FlowModel, home: Path) -> np.ndarray:
    return sample_system(model, read_system(system_folder(home / f"store-{_ID}", "away")), seed=3)


def same_members(one: FlowModel, other: FlowModel) -> bool:
    pairs = zip(one.members, other.members, strict=True)
    return all(np.array_equal(each.displacements, its.displacements) for each, its in pairs) and bool(one.members)


def test_the_model_that_was_written_draws_the_same_from_all_that_holds_it(
    trained_home: Path, written: Path, tmp_path: Path
) -> None:
    stages = [trained_home / f"{name}-{_ID}" for name in ("stage1", "stage2")]
    expected = drawn(load_flow_model(RECIPE, TRAINED, *stages), trained_home)
    home = Path(shutil.copytree(written, tmp_path / "register-1" / "model")).parents[1]
    for place in (written, trained_home, stages[1], home):
        model = read_model(place)
        np.testing.assert_array_equal(drawn(model, trained_home), expected)
        assert same_members(model, read_model(written))
        assert model.training_ids == TRAINED


def test_two_writings_are_the_same_bytes_and_hold_no_more_than_they_need(
    trained_home: Path, written: Path, tmp_path: Path
) -> None:
    assert files(write(trained_home, tmp_path / "again")) == files(written)
    suffixes = {Path(name).suffix for name in files(written)}
    assert suffixes == {".json", ".safetensors", ".md"}


def test_the_recipe_that_samples_is_the_one_it_was_written_with(trained_home: Path, tmp_path: Path) -> None:
    """A stage 2 is not trained anew for other samples, so its own copy of the recipe may be an older one."""
    recipe = RECIPE.model_copy(update={"sampling": RECIPE.sampling.model_copy(update={"samples": 5})})
    assert read_model(write(trained_home, tmp_path / "five", recipe)).recipe.sampling.samples == 5


def test_a_changed_byte_anywhere_is_refused_with_the_file_named(folder: Path) -> None:
    for name in sorted(set(files(folder)) - {NAME}):
        if name.endswith(NAME):
            continue  # of a part: what it lists is listed, too
        path = folder / name
        kept = path.read_bytes()
        path.write_bytes(kept[: len(kept) // 2] + bytes([kept[len(kept) // 2] ^ 1]) + kept[len(kept) // 2 + 1 :])
        with pytest.raises(StoreError, match=rf"hinges/{name}: checksum differs from its manifest; take another copy"):
            read_model(folder)
        path.write_bytes(kept)
    read_model(folder)


def test_a_manifest_with_a_changed_byte_is_refused(folder: Path) -> None:
    path = folder / NAME
    kept = path.read_bytes()
    for place in np.random.default_rng(0).choice(len(kept), 60, replace=False).tolist():
        path.write_bytes(kept[:place] + bytes([kept[place] ^ 0x15]) + kept[place + 1 :])
        with pytest.raises(StoreError, match=str(folder)) as refusal:
            read_model(folder)
        assert "\n" not in str(refusal.value)


def test_another_schema_is_refused_with_both_numbers_and_what_to_do(folder: Path) -> None:
    path = folder / NAME
    manifest = json.loads(path.read_text())
    for schema, way_out in ((7, "update CryoFound"), (0, "submit its recipe")):
        path.write_text(json.dumps(manifest | {"schema": schema}))
        for read in (read_model, read_card):
            with pytest.raises(StoreError, match=f"a model of schema {schema}, this program reads 1; {way_out}"):
                read(folder)


class Planted:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, Sequence[str]]:
        return os.mkdir, (str(self.mark),)


def test_planted_pickles_are_never_opened(folder: Path, trained_home: Path, tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    expected = drawn(read_model(folder), trained_home)
    for name in ("python_model.pkl", "stage1/model.pt", "members/members.pkl", "stage2/pytorch_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Planted(mark)))
    np.testing.assert_array_equal(drawn(read_model(folder), trained_home), expected)

    weights = folder / "stage1" / WEIGHTS
    torch.save({"weight": Planted(mark)}, weights)
    for part in (folder / "stage1", folder):  # as one would who wants it to be believed
        write_manifest(part, kind="model", schema=1)
    with pytest.raises(StoreError, match=rf"{WEIGHTS}: no safetensors"):
        read_model(folder)
    assert not mark.exists()


def test_nothing_is_left_of_a_model_that_cannot_be_written(trained_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(trained_home, tmp_path / "home"))
    config = home / f"stage2-{_ID}" / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace('"two"', '"six"'))
    with pytest.raises(StoreError, match=r"trained on one, six, .*stage1-\w+ on one, two; give those of one run"):
        write(home, tmp_path / "model")
    config.write_text(kept + " ")
    with pytest.raises(StoreError, match=r"config.json: \d+ bytes"):
        write(home, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    config.write_text(kept)
    assert is_finished(write(home, tmp_path / "model"))
    with pytest.raises(StoreError, match="model: is there already; choose another folder"):
        write(home, tmp_path / "model")


def test_what_holds_no_model_or_several_is_refused(trained_home: Path, written: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere: no such folder; give one, models:/NAME@ALIAS"):
        read_model(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match="no finished stage 2 in it; give the folder of a model"):
        read_model(tmp_path)
    home = Path(shutil.copytree(trained_home, tmp_path / "home"))
    shutil.copytree(home / f"stage2-{_ID}", home / "stage2-b")
    with pytest.raises(RecipeError, match=rf"home: holds stage2-{_ID}, stage2-b; give the folder of a model"):
        read_model(home)
    assert read_model(home / "stage2-b").members
    shutil.rmtree(home / "stage2-b")
    config = home / f"stage1-{_ID}" / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace('"latent_channels": 4', '"latent_channels": 8'))
    with pytest.raises(RecipeError, match="home: no finished stage 1 in it"):
        read_model(home)
    config.write_text(kept)
    shutil.copytree(home / f"store-{_ID}", home / "store-b")
    with pytest.raises(RecipeError, match=rf"home: holds store-{_ID}, store-b; give the folder of a model"):
        read_model(home)
    for number in "ab":
        shutil.copytree(written, home / f"register-{number}" / "model")
    with pytest.raises(RecipeError, match="home: holds register-a/model, register-b/model; give the folder of a model"):
        read_model(home)
    shutil.rmtree(home / f"stage2-{_ID}")
    for folder in home.glob("register-*"):
        shutil.rmtree(folder)
    with pytest.raises(RecipeError, match="home: no finished stage 2 in it"):
        read_model(home)
