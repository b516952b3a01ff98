"""What is wrong with a store is found, told, and mended only when that is asked for."""

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest
import zarr

from cryofound.ensemble.checking import check_store, stores_in
from cryofound.ensemble.shards import shard_key, write_shard
from cryofound.ensemble.store import shard_folder, system_folder
from cryofound.ensemble.writing import begin_system, finish_system, write_states
from cryofound.manifest import is_finished, listed_file, read_manifest, write_manifest
from tests.unit.ensemble.test_store import DENSITIES, SYSTEM, content, damage, made_store, parts


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A finished store of two systems with a shard."""
    store = tmp_path / "store-1"
    made_store(store)
    write_shard(shard_folder(store) / "000000.tar", [(shard_key("a", "s0"), DENSITIES[0], {"row": 0})])
    files = read_manifest(store)["files"]
    for name in ("shards/train/000000.tar", "shards/train/000000.json"):
        files[name] = listed_file(store / name)
    write_manifest(store, files=files, systems=["a", "b"], schema=2)
    return store


def told(store: Path, *, repair: bool = False) -> list[tuple[str, str, bool]]:
    """(place, text, mended) of every finding."""
    findings = check_store(store, store.parent / "cache/store-1.lock", repair=repair)
    return [(each.place.relative_to(store.parent).as_posix(), each.text, each.mended is not None) for each in findings]


def test_a_whole_store_has_nothing_wrong(store: Path) -> None:
    before = content(store)
    assert told(store) == told(store, repair=True) == []
    assert content(store) == before
    assert stores_in(store.parent) == [store]


def test_every_damage_is_found_and_what_is_whole_is_kept(store: Path) -> None:
    damage(store / "systems/b/maps/c/1/0/0/0")
    damage(store / "shards/train/000000.tar")
    (store / "shards/train/000007.tar").write_bytes(b"of nobody")
    before = content(store)
    expected = [
        ("store-1/systems/b", f"{store}/systems/b/maps/c/1/0/0/0: checksum differs from its manifest"),
        ("store-1/shards/train/000000.tar", f"{store}/shards/train/000000.tar: checksum differs from its manifest"),
        ("store-1/shards/train/000007.tar", "is not in the store's manifest"),
    ]
    assert told(store) == [(*each, False) for each in expected]
    assert content(store) == before  # a look changes nothing
    assert told(store, repair=True) == [(*each, True) for each in expected]
    partial = store.with_name("store-1.partial")
    assert stores_in(store.parent) == [partial]
    assert not is_finished(partial)
    assert sorted(content(partial)) == sorted(
        name for name in before if name.startswith("systems/a/") or name == "shards/train/000000.json"
    )


def test_values_that_are_not_what_was_written_are_found_though_every_file_is_as_listed(store: Path) -> None:
    folder = system_folder(store, "a")
    zarr.open_group(folder, mode="r+")["maps"][3, 0, 0, 0] += 1  # type: ignore[index, operator]  # an array it is
    (folder / "manifest.json").unlink()
    write_manifest(folder, kind="system", system_id="a")
    assert told(store)[0][:2] == ("store-1/systems/a", "values of maps[3] are not what was written")


def test_a_store_of_another_schema_is_told_in_one_line(store: Path) -> None:
    write_manifest(store, files={}, systems=["a", "b"])
    text = "schema 1, this program reads 2; delete it and run again"
    assert told(store, repair=True) == [("store-1", text, False)]
    assert is_finished(store)


def test_what_a_crash_left_is_finished_or_removed(store: Path) -> None:
    partial = store.with_name("store-1.partial")
    store.rename(partial)
    (partial / "manifest.json").unlink()
    complete, begun = system_folder(partial, "c"), system_folder(partial, "d")
    for folder, starts in ((complete, (0, 8, 16)), (begun, (8,))):
        begin_system(folder, replace(SYSTEM, system_id=folder.name).outline, {})
        for first in starts:
            write_states(folder, first, parts(first))
    (partial / "systems/e.0123.partial/maps").mkdir(parents=True)
    (partial / "systems/b.progress").mkdir()
    (partial / "shards/train/000001.0123.partial").write_bytes(b"half")
    expected = [
        ("store-1.partial/systems/b.progress", "was left by a task that was stopped", True),
        ("store-1.partial/systems/c", "18 of 18 states are written", True),
        ("store-1.partial/systems/d", "8 of 18 states are written", False),
        ("store-1.partial/systems/e.0123.partial", "was left by a task that was stopped", True),
        ("store-1.partial/shards/train/000001.0123.partial", "was left by a task that was stopped", True),
        ("store-1.partial", "was never finished; run its recipe to go on", False),
    ]
    assert told(partial) == [(place, text, False) for place, text, _ in expected]
    assert told(partial, repair=True) == expected
    assert told(partial) == [expected[2], expected[5]]
    assert is_finished(complete)
    for first in (0, 16):  # what was begun can be gone on with
        write_states(begun, first, parts(first))
    finish_system(begun)
    assert content(begun).keys() == content(complete).keys()


def test_a_store_that_is_being_made_is_left_alone(store: Path) -> None:
    partial = store.with_name("store-1.partial")
    store.rename(partial)
    (partial / "manifest.json").unlink()
    (partial / "systems/e.0123.partial").mkdir()
    lock = partial.parent / "cache/store-1.lock"
    lock.parent.mkdir()
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert told(partial, repair=True) == [("store-1.partial", "is being made now; left alone", False)]
        assert (partial / "systems/e.0123.partial").is_dir()
