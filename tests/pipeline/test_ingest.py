"""Ingest: a store that is whole or not there, and the same bytes every time, whoever runs the tasks."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from cryofound.config import GridConfig, Recipe, ShardsConfig
from cryofound.ensemble.shards import ShardIndex
from cryofound.ensemble.store import open_store, read_density, shard_folder, system_folder
from cryofound.errors import MapError, RecipeError, SourceError, StoreError, StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.structure.reading import read_model
from cryofound.structure.writing import write_ensemble
from data_pipeline.ingest import Report, ingest, no_report
from data_pipeline.plan import make_plan
from data_pipeline.streaming import own_stream, ray_stream
from data_pipeline.tasks import Row, Target, Task
from tests.made_proteins import made_protein
from tests.pipeline.conftest import write_entry

# Ray Data's own settings object touches its own deprecated names.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
KILLS = 20


def recipe(catalog: Path, box_size: int | tuple[int, ...] = 40, **shards: float) -> Recipe:
    return Recipe(
        name="made",
        entries=(str(catalog / "*.yaml"),),
        grid=GridConfig(box_size=box_size, voxel_size=2.0),
        shards=ShardsConfig.model_validate(shards),
    )


def run(recipe: Recipe, home: Path, *, strict: bool = False, report: Report = no_report) -> Path:
    return ingest(make_plan(recipe, home), own_stream, strict=strict, report=report)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_series(catalog: Path, name: str, states: int) -> None:
    """Give a system of the catalog a series of small measured maps."""
    own = read_model(catalog / f"files/{name}_closed.cif")
    grid = Grid((40, 40, 40), 2.2, tuple((own.positions_xyz.mean(0) - 43).tolist()))
    listed = []
    for row in range(states):
        values = np.random.default_rng(row).standard_normal(grid.shape_zyx, dtype=np.float32)
        write_map(catalog / f"files/{name}_{row}.mrc", DensityMap(values, grid))
        listed.append(
            {"state_id": f"s{row}", "kind": "map", "source": "here", "file": f"{name}_{row}.mrc", "resolution": 6.0}
        )
    write_entry(catalog, name, states=listed)


def test_a_store_is_made_once_and_always_the_same(catalog: Path, tmp_path: Path) -> None:
    store = run(recipe(catalog), tmp_path / "home")
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert run(recipe(catalog), tmp_path / "home") == store
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    again = run(recipe(catalog), tmp_path / "other")
    assert again.name == store.name
    assert content(again) == content(store)

    systems = open_store(store, check=True)
    assert {name: system.split for name, system in systems.items()} == {"a": "train", "b": "train", "c": "held_out"}
    index = ShardIndex.open(shard_folder(store))
    # Neither a held-out system nor a validation state is among what training can read.
    assert [sample.key for sample in index.samples] == ["a__closed", "a__open", "b__closed", "b__open"]
    for name, keys in (("validation", ["a__between", "b__between"]), ("test", ["c__between", "c__closed", "c__open"])):
        assert [sample.key for sample in ShardIndex.open(shard_folder(store, name)).samples] == keys
    density, meta = index.sample(3)
    assert (meta["system_id"], meta["state_id"], meta["state_index"], meta["resolution"]) == ("b", "open", 2, 8.0)
    np.testing.assert_array_equal(density, read_density(system_folder(store, "b"), 2), strict=True)

    (store / "shards/train/000000.tar").write_bytes(b"")
    with pytest.raises(StoreError, match=r"000000\.tar: 0 bytes, its manifest says"):
        run(recipe(catalog), tmp_path / "home")


def test_each_system_takes_the_smallest_box_that_holds_all_its_states(catalog: Path, tmp_path: Path) -> None:
    own = read_model(catalog / "files/c_closed.cif")
    # one lobe further out: only this state needs a larger box
    far = own.positions_xyz + 25 * (own.residue_index >= 30)[:, None] * np.array([1.0, 0.0, 0.0])
    write_ensemble(catalog / "files/c_between.cif", own, far[None])
    store = run(recipe(catalog, box_size=(72, 40, 56)), tmp_path / "home")
    systems = open_store(store, check=True)
    for name, system in systems.items():
        size, voxel_size = system.grid.shape_zyx[0], system.grid.voxel_size
        reach = max(np.abs(system.truth_xyz).max(), np.abs(system.reference.positions_xyz).max()) + 2 * voxel_size
        assert next(each for each in (40, 56, 72) if each * voxel_size / 2 >= reach) == size, name
        assert read_density(system_folder(store, name), 1).shape == (size,) * 3
    assert len({system.grid.shape_zyx[0] for system in systems.values()}) == 2
    index = ShardIndex.open(shard_folder(store, "test"))
    assert {index.sample(row)[0].shape for row in range(len(index))} == {systems["c"].grid.shape_zyx}
    before = content(store)
    assert content(run(recipe(catalog, box_size=(72, 40, 56)), tmp_path / "other")) == before
    write_entry(catalog, "c", reference={"source": "here", "file": "c_between.cif"})
    with pytest.raises(MapError, match=r"^c: .*box of 40 voxels of 2\.0 A .* set grid\.box_size to \d+$"):
        run(recipe(catalog, box_size=(24, 40)), tmp_path / "home")


@pytest.mark.usefixtures("local_ray")
def test_ray_makes_the_same_store(catalog: Path, tmp_path: Path) -> None:
    write_series(catalog, "b", 18)
    told: list[tuple[str, int, int]] = []
    plan = make_plan(recipe(catalog), tmp_path / "ray")
    store = ingest(plan, ray_stream, report=lambda what, done, total, seconds: told.append((what, done, total)))
    assert content(store) == content(run(recipe(catalog), tmp_path / "own"))
    assert [row for row in told if row[1] == row[2]] == [
        ("outlines", 3, 3), ("states", 24, 24), ("systems", 3, 3), ("shards", 3, 3)
    ]  # fmt: skip


def _perilous(rows: Sequence[Row], target: Target) -> list[Row]:
    if rows[0]["system_id"] == "fault":
        raise ZeroDivisionError
    if rows[0]["system_id"] == "death":
        os._exit(1)
    return [{"system_id": row["system_id"], "kind": "", "error": "", "files": ""} for row in rows]


@pytest.mark.usefixtures("local_ray")
def test_a_task_that_dies_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    target = Target(tmp_path, (Grid.centred(16, 1.0),), tmp_path)
    blocks = [[{"system_id": name}] for name in ("a", "fault", "b", "death", "c")]
    assert sorted(row["system_id"] for row in ray_stream(blocks, _perilous, target, True)) == ["a", "b", "c"]


def test_a_system_whose_task_died_is_told(catalog: Path, tmp_path: Path) -> None:
    def losing(blocks: Sequence[Sequence[Row]], task: Task, target: Target, tolerant: bool) -> Iterator[Row]:
        return own_stream([rows for rows in blocks if rows[0].get("system_id") != "b"], task, target, tolerant)

    with pytest.raises(StoreError, match=r"^b: a task of it died, Ray's log says why; run again$"):
        ingest(make_plan(recipe(catalog), tmp_path / "home"), losing)
    assert sorted(open_store(run(recipe(catalog), tmp_path / "home"))) == ["a", "b", "c"]


def test_a_changed_file_or_grid_or_split_is_another_store(catalog: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = run(recipe(catalog), home)
    model = made_protein(60, hinge_degrees=41)
    write_ensemble(catalog / "files/b_open.cif", model, model.positions_xyz[None])
    second = run(recipe(catalog), home)
    third = run(recipe(catalog, box_size=48), home)
    fourth = run(recipe(catalog, test=0.9, whole_families=True), home)
    assert len({first, second, third, fourth}) == 4
    # What has not changed is not made again, and is what it would have been.
    same = system_folder(first, "c") / "zarr.json"
    assert same.stat().st_ino == (system_folder(second, "c") / "zarr.json").stat().st_ino
    assert content(second) == content(run(recipe(catalog), tmp_path / "other"))
    assert {system.split for system in open_store(fourth).values()} == {"held_out"}
    assert len(ShardIndex.open(shard_folder(fourth, "test"))) == 9


def test_a_refused_system_leaves_no_store_but_what_others_did(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    right = (catalog / "b.yaml").read_text()
    write_entry(catalog, "b", reference={"source": "here", "file": "b_closed.cif", "chain": "Q"})
    with pytest.raises(StructureError, match=r"^b: .*b_closed.cif: no chain Q; it has A$"):
        run(recipe(catalog), home)
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "refused" in line]
    assert told.startswith("step=store system=b refused: b: ")
    (partial,) = [path for path in home.iterdir() if path.name.startswith("store")]
    assert partial.name.endswith(".partial")
    assert not (partial / "manifest.json").exists()
    assert sorted(path.name for path in (partial / "systems").iterdir()) == ["a", "c"]
    (catalog / "b.yaml").write_text(right)
    assert sorted(open_store(run(recipe(catalog), home))) == ["a", "b", "c"]


def test_a_state_that_is_refused_names_its_file_and_strict_stops_there(catalog: Path, tmp_path: Path) -> None:
    write_series(catalog, "a", 10)
    write_series(catalog, "b", 10)
    (catalog / "files/a_9.mrc").write_bytes((catalog / "files/a_9.mrc").read_bytes()[:5000])
    (catalog / "files/b_3.mrc").unlink()
    with pytest.raises(SourceError, match=r"^b: .*b_3.mrc: not in source here of b; .*"):
        run(recipe(catalog), tmp_path / "strict", strict=True)
    with pytest.raises(Exception, match=r"^a: .*a_9.mrc: cut short: .* \(also refused: b\)$"):
        run(recipe(catalog), tmp_path / "home")
    (partial,) = (tmp_path / "home").glob("store-*.partial")
    assert (partial / "systems/c/manifest.json").is_file()
    assert (partial / "systems/a.progress/000000.json").is_file()  # the eight states before


def test_an_interrupted_ingest_goes_on_with_what_is_missing(catalog: Path, tmp_path: Path) -> None:
    whole = run(recipe(catalog), tmp_path / "whole")
    store = run(recipe(catalog), tmp_path / "home")
    # As a kill would leave it: unpublished, one system and one shard half written.
    partial = store.with_name(store.name + ".partial")
    store.rename(partial)
    (partial / "manifest.json").unlink()
    (partial / "systems/b").rename(partial / "systems/b.5eed.partial")
    (partial / "systems/b.5eed.partial/manifest.json").unlink()
    (partial / "shards/train/000000.tar").rename(partial / "shards/train/000000.5eed.partial")
    kept = (partial / "systems/a/zarr.json").stat().st_mtime_ns
    assert run(recipe(catalog), tmp_path / "home") == store
    assert (store / "systems/a/zarr.json").stat().st_mtime_ns == kept
    assert content(store) == content(whole)


def _run_and_die(recipe: Recipe, home: Path, operations: int) -> None:
    """Ingest, but die just before the process opens, renames or removes something in the home for the n-th time."""
    left = operations

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event.partition(".")[0] in ("open", "os", "shutil") and str(home) in str(arguments[:1]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    run(recipe, home)


@pytest.mark.slow
def test_killed_at_any_moment_and_finished_it_is_the_undisturbed_store(catalog: Path, tmp_path: Path) -> None:
    write_series(catalog, "b", 18)
    whole = run(recipe(catalog), tmp_path / "whole")
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.pipeline.test_ingest"])
    chance, met, finished = random.Random(0), set(), 0
    home = tmp_path / "home"
    for _ in range(KILLS):
        child = forks.Process(target=_run_and_die, args=(recipe(catalog), home, chance.randrange(1, 500)))
        child.start()
        child.join()
        met.add(frozenset(path.name for path in home.rglob("*")))
        if any(home.glob("store-*/manifest.json")):
            finished += 1
            assert content(next(home.glob("store-*"))) == content(whole)
            shutil.rmtree(home)
    store = run(recipe(catalog), home)
    assert content(store) == content(whole)
    assert len(met) > KILLS / 2  # the kills met different moments
    assert 0 < finished < KILLS / 2
    assert json.loads((store / "manifest.json").read_text())["states"] == 24


def test_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no catalog entry matches"):
        run(recipe(tmp_path), tmp_path / "home")
    assert not (tmp_path / "home").exists()
