"""Shards: the same bytes every time, readable by WebDataset, in an order that numbers alone decide."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from cryofound.ensemble.shards import ShardIndex, global_batch, shard_key, write_shard
from cryofound.errors import StoreError


def samples(number: int, first: int = 0) -> list[tuple[str, np.ndarray, dict]]:
    rng = np.random.default_rng(first)
    return [
        (shard_key("made", f"s{row:02d}"), rng.normal(size=(4, 5, 6)).astype(np.float32), {"row": row, "name": "å"})
        for row in range(first, first + number)
    ]


def test_samples_come_back_by_number(tmp_path: Path) -> None:
    write_shard(tmp_path / "b.tar", samples(3, 5))
    write_shard(tmp_path / "a.tar", samples(4, 20))
    index = ShardIndex.open(tmp_path)
    assert len(index) == 7
    for row, (key, density, meta) in enumerate(samples(3, 5) + samples(4, 20)):
        assert index.samples[row].key == key
        read_density, read_meta = index.sample(row)
        np.testing.assert_array_equal(read_density, density, strict=True)
        assert read_meta == meta


def test_samples_of_some_systems_alone(tmp_path: Path) -> None:
    density = np.zeros((2, 2, 2), np.float32)
    keys = [shard_key(system, state) for system in ("a", "a_b", "c") for state in ("x", "y")]
    write_shard(tmp_path / "a.tar", [(key, density, {}) for key in keys])
    index = ShardIndex.open(tmp_path)
    assert [each.key for each in index.of_systems(["a", "c"]).samples] == ["a__x", "a__y", "c__x", "c__y"]
    assert index.of_systems(["a", "a_b", "c"]).samples == index.samples
    with pytest.raises(StoreError, match="no training map of b, d: all are set aside"):
        index.of_systems(["d", "b"])


# WebDataset leaves the closing of its files to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_same_samples(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", samples(3))
    theirs = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode())
    for sample, (key, density, meta) in zip(theirs, samples(3), strict=True):
        assert sample["__key__"] == key
        assert sample["json"] == meta
        np.testing.assert_array_equal(sample["npy"], density, strict=True)


def test_the_same_samples_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, samples(3))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.tar", "b.json", "b.tar"]


def test_an_index_says_what_the_headers_say(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", samples(3))
    indexed = ShardIndex.open(tmp_path)
    (tmp_path / "a.json").unlink()
    scanned = ShardIndex.open(tmp_path)
    assert tuple(replace(sample, crc32=None) for sample in indexed.samples) == scanned.samples
    for row in range(3):
        np.testing.assert_array_equal(indexed.sample(row)[0], scanned.sample(row)[0], strict=True)


def test_a_damaged_sample_is_told_when_it_is_read(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", samples(3))
    index = ShardIndex.open(tmp_path)
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[index.samples[1].density_at[0] + 200] ^= 1
    (tmp_path / "a.tar").write_bytes(content)
    index.sample(0), index.sample(2)
    with pytest.raises(StoreError, match=r"a\.tar: sample made__s01 is damaged"):
        index.sample(1)
    (tmp_path / "a.tar").write_bytes(content[: index.samples[2].density_at[0] + 100])
    with pytest.raises(StoreError, match="made__s02 is damaged"):
        index.sample(2)


def test_what_is_damaged_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no training shard"):
        ShardIndex.open(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"x" * 2000)
    with pytest.raises(StoreError, match=r"a\.tar: damaged"):
        ShardIndex.open(tmp_path)
    with pytest.raises(StoreError, match="holds no dot"):
        shard_key("a.b", "c")


@given(n=st.integers(1, 40), batch_size=st.integers(1, 90), seed=st.integers(0, 5), steps=st.integers(1, 6))
def test_every_epoch_is_every_sample_once(n: int, batch_size: int, seed: int, steps: int) -> None:
    stream = np.concatenate([global_batch(n, batch_size, step, seed) for step in range(steps)])
    assert len(stream) == batch_size * steps
    for start in range(0, len(stream) - n + 1, n):
        np.testing.assert_array_equal(np.sort(stream[start : start + n]), np.arange(n))


def test_the_order_does_not_depend_on_how_it_is_cut() -> None:
    once = global_batch(10, 60, 0, seed=3)
    np.testing.assert_array_equal(once, np.concatenate([global_batch(10, 20, step, seed=3) for step in range(3)]))
    assert not np.array_equal(once[:10], once[10:20])
    assert not np.array_equal(once, global_batch(10, 60, 0, seed=4))
