"""Batches for torch: the same whatever reads them, from wherever, and whenever it begins."""

from pathlib import Path

import fsspec
import numpy as np
import pytest

from cryofound.ensemble.reader import Batch, StepBatches, step_loader
from cryofound.ensemble.shards import ShardIndex, global_batch, shard_key, write_shard

SAMPLES = 23
DENSITY = np.random.default_rng(0).normal(size=(SAMPLES, 4, 5, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number, first in enumerate(range(0, SAMPLES, 9)):
        rows = range(first, min(first + 9, SAMPLES))
        write_shard(
            folder / f"{number:06d}.tar", ((shard_key("s", f"{row:02d}"), DENSITY[row], {"row": row}) for row in rows)
        )
    return folder


def rows_of(batches: list[Batch]) -> list[list[int]]:
    return [[meta["row"] for meta in batch.metas] for batch in batches]


def test_steps_come_in_order_with_their_own_samples(shards: Path) -> None:
    found = list(step_loader(StepBatches(ShardIndex.open(shards), 5, seed=3), range(12)))
    assert [batch.step for batch in found] == list(range(12))
    assert rows_of(found) == [global_batch(SAMPLES, 5, step, 3).tolist() for step in range(12)]
    for batch, rows in zip(found, rows_of(found), strict=True):
        np.testing.assert_array_equal(batch.density.numpy(), DENSITY[rows], strict=True)


@pytest.mark.parametrize("stop", [0, 3, 7])
def test_going_on_from_any_step_is_as_if_nothing_had_happened(shards: Path, stop: int) -> None:
    batches = StepBatches(ShardIndex.open(shards), 5, seed=3)  # an epoch is 4.6 steps
    whole = rows_of(list(step_loader(batches, range(12))))
    again = StepBatches(ShardIndex.open(shards), 5, seed=3)
    assert whole[:stop] + rows_of(list(step_loader(again, range(stop, 12)))) == whole


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_the_global_batch(shards: Path, world: int) -> None:
    index = ShardIndex.open(shards)
    ranks = [rows_of(list(step_loader(StepBatches(index, 6, 0, rank, world), range(8)))) for rank in range(world)]
    for step in range(8):
        together = [row for rank in ranks for row in rank[step]]
        assert sorted(together) == sorted(global_batch(SAMPLES, 6, step, 0).tolist())


def test_reading_processes_change_nothing(shards: Path) -> None:
    batches = StepBatches(ShardIndex.open(f"file://{shards}"), 5, seed=3)
    here = list(step_loader(batches, range(2, 9)))
    there = list(step_loader(batches, range(2, 9), workers=2))
    assert rows_of(there) == rows_of(here)
    for one, other in zip(there, here, strict=True):
        np.testing.assert_array_equal(one.density.numpy(), other.density.numpy(), strict=True)


def test_an_object_store_is_read_like_a_folder(shards: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(shards), "/bucket/train", recursive=True)
    index = ShardIndex.open("memory://bucket/train")
    assert [sample.key for sample in index.samples] == [sample.key for sample in ShardIndex.open(shards).samples]
    found = rows_of(list(step_loader(StepBatches(index, 5, seed=3), range(4))))
    assert found == [global_batch(SAMPLES, 5, step, 3).tolist() for step in range(4)]
    write_shard("memory://bucket/more/000000.tar", [(shard_key("s", "00"), DENSITY[0], {"row": 0})])
    write_shard(shards.parent / "more.tar", [(shard_key("s", "00"), DENSITY[0], {"row": 0})])
    assert memory.cat_file("/bucket/more/000000.tar") == (shards.parent / "more.tar").read_bytes()
    np.testing.assert_array_equal(ShardIndex.open("memory://bucket/more").sample(0)[0], DENSITY[0], strict=True)
