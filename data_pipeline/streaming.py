"""Who runs the tasks of an ingest: Ray Data on its workers, or this process."""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

import pyarrow as pa
import ray.data
from ray.util.annotations import RayDeprecationWarning

from data_pipeline.tasks import Row, Target, Task

WINDOW = 2048  # tasks that the driver keeps account of at a time


def ray_stream(blocks: Sequence[Sequence[Row]], task: Task, target: Target, tolerant: bool) -> Iterator[Row]:
    """The rows that a task gives back for each block, as they come; Ray must have been started.

    A block is a Ray task of one CPU. If `tolerant`, one that fails for a fault of the program, or kills its worker
    twice, is told in Ray's log and the others go on.
    """
    waiting = iter(blocks)
    while window := [pa.Table.from_pylist(list(rows)) for rows in islice(waiting, WINDOW)]:
        with warnings.catch_warnings():
            # Ray 2.60 wants its named arguments only, but has none for max_retries: without it, rows that kill their
            # worker are tried again for ever.
            warnings.simplefilter("ignore", RayDeprecationWarning)
            dataset = ray.data.from_arrow(window).map_batches(
                partial(_on_block, task=task, target=target),
                batch_size=None,  # the whole block
                batch_format="pyarrow",
                zero_copy_batch=True,
                num_cpus=1,
                max_retries=1,
            )
        dataset.context.enable_progress_bars = False
        dataset.context.max_errored_blocks = -1 if tolerant else 0
        yield from dataset.iter_rows()


def own_stream(blocks: Sequence[Sequence[Row]], task: Task, target: Target, tolerant: bool) -> Iterator[Row]:
    """The same in this process, block after block; a fault of the program is raised whether `tolerant` or not."""
    for rows in blocks:
        yield from task(rows, target)


def _on_block(rows: pa.Table, *, task: Task, target: Target) -> pa.Table:
    return pa.Table.from_pylist(task(rows.to_pylist(), target))
