"""The system store: what goes in comes out, however it was written, and what is not whole is not opened."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryofound.ensemble.store import (
    open_store,
    read_density,
    read_mask,
    read_prediction,
    read_provenance,
    read_system,
    system_folder,
)
from cryofound.ensemble.system import State, StateArrays, System
from cryofound.ensemble.writing import (
    adopt_system,
    begin_system,
    finish_system,
    is_written,
    shard_starts,
    states_per_shard,
    write_states,
    write_system,
    wrong_arrays,
)
from cryofound.errors import StoreError
from cryofound.manifest import listed_file, write_manifest
from cryofound.maps.density_map import Grid
from tests.made_proteins import made_protein

REFERENCE = made_protein(20)
GRID = Grid.centred(16, 2.0)
DENSITIES = np.random.default_rng(0).normal(size=(18, 16, 16, 16)).astype(np.float32)
TRUTH_MASK = np.random.default_rng(2).random((18, REFERENCE.n_atoms)) < 0.9
MOVED = REFERENCE.positions_xyz + np.random.default_rng(1).normal(size=(18, REFERENCE.n_atoms, 3)).astype(np.float32)
SYSTEM = System(
    system_id="made",
    family="proteins",
    split="train",
    reference=REFERENCE,
    family_position=np.linspace(-1, 18.5, 20, dtype=np.float32),
    states=tuple(State(f"s{row}", 0.5 + row, 6.0, "validation" if row % 5 == 4 else "train") for row in range(18)),
    truth_xyz=np.where(TRUTH_MASK[..., None], MOVED, REFERENCE.positions_xyz),
    truth_mask=TRUTH_MASK,
    grid=GRID,
    symmetry="C4",
)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def parts(first: int) -> list[StateArrays]:
    rows = slice(first, first + states_per_shard(GRID))
    each = zip(DENSITIES[rows], SYSTEM.truth_xyz[rows], SYSTEM.truth_mask[rows], strict=True)
    return [StateArrays(*arrays) for arrays in each]


def test_round_trip(tmp_path: Path) -> None:
    write_system(tmp_path / "made", SYSTEM, DENSITIES, {"why": ["a", 1]})
    back = read_system(tmp_path / "made")
    for name in ("system_id", "family", "split", "states", "grid", "symmetry"):
        assert getattr(back, name) == getattr(SYSTEM, name)
    for name in ("family_position", "truth_xyz", "truth_mask"):
        np.testing.assert_array_equal(getattr(back, name), getattr(SYSTEM, name), strict=True)
    for field in fields(REFERENCE):
        np.testing.assert_array_equal(getattr(back.reference, field.name), getattr(REFERENCE, field.name), strict=True)
    for row in (0, 7, 8, 17):  # on both sides of a shard's end
        np.testing.assert_array_equal(read_density(tmp_path / "made", row), DENSITIES[row], strict=True)
    assert read_provenance(tmp_path / "made")["why"] == ["a", 1]
    assert read_mask(tmp_path / "made", 0) is None
    assert read_prediction(tmp_path / "made") == {}
    assert wrong_arrays(tmp_path / "made") == []
    with pytest.raises(StoreError, match="has maps 0 to 17, map 18 was asked for"):
        read_density(tmp_path / "made", 18)


def test_parts_written_in_any_order_and_twice_are_the_same_bytes(tmp_path: Path) -> None:
    write_system(tmp_path / "whole/made", SYSTEM, DENSITIES, {})
    folder = tmp_path / "parts/made"
    begin_system(folder, SYSTEM.outline, {})
    starts = list(shard_starts(18, GRID))
    assert starts == [0, 8, 16]
    for first in (16, 0, 16):
        assert is_written(folder, first) == (first == 16 and is_written(folder, 0))
        write_states(folder, first, parts(first))
    with pytest.raises(StoreError, match="state 8 is not written; run the ingest again"):
        finish_system(folder)
    begin_system(folder, SYSTEM.outline, {})  # what is there stays
    write_states(folder, 8, parts(8))
    (folder.parent / "made.partial/maps/c/0/0/0/0.5eed.partial").write_bytes(b"of a killed task")
    finish_system(folder)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_a_task_owns_whole_shards(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    begin_system(folder, SYSTEM.outline, {})
    for first, states in ((4, parts(0)), (0, parts(0)[:4]), (8, parts(0)[:7])):
        with pytest.raises(AssertionError, match="shard"):
            write_states(folder, first, states)
    write_states(folder, 16, parts(16))  # the last may be short


def test_shards_of_large_maps_hold_fewer_states() -> None:
    assert [states_per_shard(Grid.centred(edge, 1.0)) for edge in (64, 128, 160, 256, 512)] == [8, 8, 4, 1, 1]


def test_masks_predictions_and_notes_are_kept(tmp_path: Path) -> None:
    folder, mask = tmp_path / "made", np.random.default_rng(3).random((16, 16, 16))
    confidence = np.linspace(0, 1, 20, dtype=np.float32)
    outline = replace(SYSTEM.outline, states=SYSTEM.states[:2])
    begin_system(folder, outline, {"sha256": {"a:b": "1"}}, {"prediction/confidence": confidence}, masked=True)
    first, second = parts(0)[:2]
    notes = [{"preprocessing": [{"kind": "dust"}], "sha256": {"c:d": "2"}}, {}]
    write_states(folder, 0, [replace(first, mask=mask), second], notes)
    finish_system(folder)
    kept, none = read_mask(folder, 0), read_mask(folder, 1)
    assert kept is not None
    assert none is not None
    np.testing.assert_allclose(kept, mask, atol=0.5 / 255 + 1e-6)
    assert not none.any()
    np.testing.assert_array_equal(read_prediction(folder)["confidence"], confidence, strict=True)
    system = read_system(folder)
    assert system.embedding is None
    np.testing.assert_array_equal(system.confidence, confidence, strict=True)
    told = read_provenance(folder)
    assert told["sha256"] == {"a:b": "1", "c:d": "2"}
    assert told["states"] == {"s0": {"preprocessing": [{"kind": "dust"}]}}


def test_maps_must_fit_the_system(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"maps have shape \(17, 16, 16, 16\), the system has \(18, 16, 16, 16\)"):
        write_system(tmp_path / "made", SYSTEM, DENSITIES[:17], {})
    assert not (tmp_path / "made").exists()


def made_store(store: Path) -> None:
    """A finished store of two systems."""
    for name in ("b", "a"):
        write_system(system_folder(store, name), replace(SYSTEM, system_id=name), DENSITIES, {"identity": f"of {name}"})
    files = {f"systems/{name}/manifest.json": listed_file(store / f"systems/{name}/manifest.json") for name in "ab"}
    write_manifest(store, files=files, systems=["a", "b"], schema=2)


def damage(path: Path, at: float = 0.5) -> None:
    """Change one bit, in a file of its own: others may share it by a hard link."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.unlink()
    path.write_bytes(content)


def _reading(folder: Path, row: int) -> str | None:
    """What reading a map raises; None, and the map must be right."""
    try:
        density = read_density(folder, row)
    except StoreError as error:
        return str(error)
    np.testing.assert_array_equal(density, DENSITIES[row])
    return None


def test_a_store_is_what_its_manifest_lists(tmp_path: Path) -> None:
    store = tmp_path / "store"
    made_store(store)
    assert list(open_store(store, check=True)) == ["a", "b"]
    damage(store / "systems/a/maps/c/0/0/0/0")
    with pytest.raises(StoreError, match="checksum differs from its manifest"):
        open_store(store, check=True)
    # Opening looks at sizes only; what is damaged is told when it is read.
    assert list(open_store(store)) == ["a", "b"]
    told = [_reading(store / "systems/a", row) for row in range(8)]
    assert [each is None for each in told].count(False) == 1
    assert "is damaged" in next(each for each in told if each)
    (store / "systems/a/maps/c/1/0/0/0").unlink()
    with pytest.raises(StoreError, match="missing, though its manifest lists it"):
        open_store(store)
    (store / "manifest.json").unlink()
    with pytest.raises(StoreError, match="was never finished"):
        open_store(store)
    with pytest.raises(StoreError, match="not a finished system"):
        read_system(tmp_path / "none")


def test_a_store_of_schema_1_is_refused_in_one_line(tmp_path: Path) -> None:
    write_system(tmp_path / "made", SYSTEM, DENSITIES, {})
    zarr.open_group(tmp_path / "made", mode="r+").attrs["schema"] = 1
    with pytest.raises(StoreError, match=r"made: schema 1, this program reads 2; delete the store, run again$"):
        read_system(tmp_path / "made")


def test_a_system_is_taken_from_another_store_of_the_home(tmp_path: Path) -> None:
    made_store(tmp_path / "store-1")
    made_store(tmp_path / "store-2")
    damage(tmp_path / "store-1/systems/a/maps/c/0/0/0/0")
    for name, identity, there in (("a", "of a", True), ("b", "of another", False), ("c", "of a", False)):
        folder = system_folder(tmp_path / "store-3.partial", name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        assert adopt_system(folder, identity) == there == folder.exists()
    # From the second store, whose files are right.
    assert content(tmp_path / "store-3.partial/systems/a") == content(tmp_path / "store-2/systems/a")
