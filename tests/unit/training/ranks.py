"""Several ranks in processes of their own, as Ray Train would start them."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed
from torch.multiprocessing.spawn import spawn


def in_ranks(world: int, job: Callable[..., None], *arguments: object) -> None:
    """Run `job(*arguments)` in `world` new processes that form one group; raises what one of them raised."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_rank, (world, Path(folder) / "meet", job, arguments), nprocs=world)


def _rank(rank: int, world: int, meet: Path, job: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.environ.update(LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meet.as_uri(), rank=rank, world_size=world)
    job(*arguments)
    torch.distributed.destroy_process_group()
