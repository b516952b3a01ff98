"""Ingest by Ray Data: a store that is whole or not there, and the same bytes every time."""

from pathlib import Path

import pytest

from cryofound.config import GridConfig, Recipe
from cryofound.ensemble.shards import ShardIndex
from cryofound.ensemble.store import open_store, shard_folder
from cryofound.errors import RecipeError, StoreError, StructureError
from cryofound.structure.writing import write_ensemble
from data_pipeline.ingest import ingest
from tests.made_proteins import made_protein
from tests.pipeline.conftest import write_entry

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    # Ray Data's own settings object touches its own deprecated names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


def recipe(catalog: Path, box_size: int = 40) -> Recipe:
    return Recipe(name="made", entries=(str(catalog / "*.yaml"),), grid=GridConfig(box_size=box_size, voxel_size=2.0))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_store_is_made_once_and_always_the_same(catalog: Path, tmp_path: Path) -> None:
    store = ingest(recipe(catalog), tmp_path / "home")
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert ingest(recipe(catalog), tmp_path / "home") == store
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    again = ingest(recipe(catalog), tmp_path / "other")
    assert again.name == store.name
    assert content(again) == content(store)

    systems = open_store(store)
    assert {name: system.split for name, system in systems.items()} == {"a": "train", "b": "train", "c": "held_out"}
    index = ShardIndex.open(shard_folder(store))
    # Neither a held-out system nor a validation state is among what training can read.
    assert [sample.key for sample in index.samples] == ["a__closed", "a__open", "b__closed", "b__open"]
    density, meta = index.sample(3)
    assert density.shape == (40, 40, 40)
    assert (meta["system_id"], meta["state_id"], meta["state_index"], meta["resolution"]) == ("b", "open", 2, 8.0)

    (store / "shards/train/000000.tar").write_bytes(b"")
    with pytest.raises(StoreError, match=r"000000\.tar: 0 bytes, its manifest says"):
        ingest(recipe(catalog), tmp_path / "home")


def test_a_changed_file_or_grid_is_another_store(catalog: Path, tmp_path: Path) -> None:
    first = ingest(recipe(catalog), tmp_path / "home")
    model = made_protein(60, hinge_degrees=41)
    write_ensemble(catalog / "files/b_open.cif", model, model.positions_xyz[None])
    second = ingest(recipe(catalog), tmp_path / "home")
    third = ingest(recipe(catalog, box_size=48), tmp_path / "home")
    assert len({first, second, third}) == 3


def test_a_refused_system_leaves_no_store_but_what_others_did(catalog: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    right = (catalog / "b.yaml").read_text()
    write_entry(catalog, "b", reference={"source": "here", "file": "b_closed.cif", "chain": "Q"})
    with pytest.raises(StructureError, match=r"^b: .*b_closed.cif: no chain Q; it has A$"):
        ingest(recipe(catalog), home)
    assert [path.name for path in home.iterdir() if path.name.startswith("store")] == [
        path.name for path in home.glob("store-*.partial")
    ]
    partial = next(home.glob("store-*.partial"))
    assert not (partial / "manifest.json").exists()
    assert sorted(path.name for path in (partial / "systems").iterdir()) == ["a", "c"]
    (catalog / "b.yaml").write_text(right)
    assert sorted(open_store(ingest(recipe(catalog), home))) == ["a", "b", "c"]


def test_an_interrupted_ingest_goes_on_with_what_is_missing(catalog: Path, tmp_path: Path) -> None:
    whole = ingest(recipe(catalog), tmp_path / "whole")
    store = ingest(recipe(catalog), tmp_path / "home")
    # As a kill would leave it: unpublished, one system and one shard half written.
    partial = store.with_name(store.name + ".partial")
    store.rename(partial)
    (partial / "manifest.json").unlink()
    (partial / "systems/b").rename(partial / "systems/b.5eed.partial")
    (partial / "systems/b.5eed.partial/manifest.json").unlink()
    (partial / "shards/train/000000.tar").rename(partial / "shards/train/000000.5eed.partial")
    kept = (partial / "systems/a/zarr.json").stat().st_mtime_ns
    assert ingest(recipe(catalog), tmp_path / "home") == store
    assert (store / "systems/a/zarr.json").stat().st_mtime_ns == kept
    assert content(store) == content(whole)


def test_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no catalog entry matches"):
        ingest(recipe(tmp_path), tmp_path / "home")
    assert not (tmp_path / "home").exists()
