"""Batches of training samples for torch: read ahead by other processes, in an order that seed and step alone decide."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cryofound.ensemble.buckets import Buckets, bucketed_batch
from cryofound.ensemble.shards import ShardIndex, global_batch


@dataclass(frozen=True)
class Batch:
    """One rank's samples of one step: density (sample, z, y, x) float32 and what each of them is."""

    step: int
    density: Tensor
    metas: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class StepBatches(Dataset[Batch]):
    """Item number `step` is the batch of that step: all the state of a run's reading is that one number.

    The ranks of one step hold disjoint parts of `global_batch`, whose samples do not depend on the number of ranks; or,
    with `buckets`, of `bucketed_batch`, where maps have several sizes (`batch_size` is then the buckets' affair).
    """

    shards: ShardIndex
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    buckets: Buckets | None = None

    def __getitem__(self, step: int) -> Batch:
        if self.buckets is None:
            rows = global_batch(len(self.shards), self.batch_size, step, self.seed)
        else:
            rows = bucketed_batch(self.buckets, step, self.seed)
        samples = [self.shards.sample(row) for row in rows[self.rank :: self.world].tolist()]
        density = torch.stack([torch.from_numpy(values) for values, _ in samples])
        return Batch(step, density, tuple(meta for _, meta in samples))


def step_loader(batches: StepBatches, steps: range, *, workers: int = 0) -> DataLoader[Batch]:
    """The batches of `steps` in order; a resumed run gives the range from its next step on.

    With `workers` > 0 that many processes read ahead. The loader hands their batches out in
    order, so that their number changes nothing either. They are spawned: fsspec's file systems do not survive a fork.
    """
    return DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_unchanged,
        multiprocessing_context="spawn" if workers else None,
    )


def _unchanged(batch: Any) -> Batch:
    return batch
