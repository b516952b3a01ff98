"""DeepSpeed behind a few calls: build, step, save, load. Nothing else imports deepspeed."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read at the first import of deepspeed

import deepspeed
import deepspeed.ops
from deepspeed.utils import logger as deepspeed_logger

from cryofound.config import EngineConfig
from cryofound.errors import StoreError

# Buckets of 5e6 elements: the default (5e8, 2 GB) is allocated anew at every step.
_BUCKET = 5_000_000
_TAG = "state"


def use_prebuilt_collectives() -> None:
    """Keep DeepSpeed from compiling its shared-memory collective on the CPU (82 s, and it needs a compiler).

    `__compatible_ops__` is a private name; a test holds it.
    """
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def deepspeed_settings(config: EngineConfig, gradient_clip: float) -> dict[str, Any]:
    """The recipe's engine section in DeepSpeed's words.

    Precision is not among them: bf16 is the loop's autocast over fp32 weights, and checkpoints stay fp32.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,  # only used for DeepSpeed's own throughput figures
        "gradient_accumulation_steps": 1,
        "gradient_clipping": gradient_clip,
        "zero_optimization": {
            "stage": config.zero_stage,
            "reduce_bucket_size": _BUCKET,
            "allgather_bucket_size": _BUCKET,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": None,
        "wall_clock_breakdown": False,
    }


class Engine:
    """A module and its AdamW under DeepSpeed, in the process group of Ray Train or in one of its own."""

    def __init__(self, module: nn.Module, config: EngineConfig, *, weight_decay: float, gradient_clip: float):
        """Moves `module` to the accelerator and wraps it; every rank must pass the same weights."""
        deepspeed_logger.setLevel(logging.ERROR)
        on_cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
        if not on_cuda:
            use_prebuilt_collectives()
        if not torch.distributed.is_initialized():
            _start_single_process_group()
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()
        self.autocast = config.precision == "bf16"
        self.module = module.to(self.device)
        self._optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.0, weight_decay=weight_decay)
        self.wrapped, *_ = deepspeed.initialize(
            model=self.module,
            optimizer=self._optimizer,
            config=deepspeed_settings(config, gradient_clip),
            dist_init_required=False,
        )

    def step(self, loss: Tensor, learning_rate: float) -> None:
        """One backward pass (gradients averaged over ranks), clipping, and one AdamW step."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self.wrapped.backward(loss)
        self.wrapped.step()

    def mean(self, values: Tensor) -> Tensor:
        """Average of a tensor over ranks; the same on every rank."""
        if self.world == 1:
            return values
        values = values.clone()
        torch.distributed.all_reduce(values)
        return values / self.world

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world > 1:
            torch.distributed.barrier()

    def save(self, folder: Path) -> None:
        """Weights and optimiser state into `folder`; every rank calls it with the same folder."""
        self.wrapped.save_checkpoint(str(folder), tag=_TAG, save_latest=False)
        if self.rank == 0:
            for script in Path(folder).glob("zero_to_*.py"):
                script.unlink()  # DeepSpeed puts its conversion scripts into every checkpoint

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote. The files are pickles: only folders whose checksums were compared come here."""
        path, _ = self.wrapped.load_checkpoint(str(folder), tag=_TAG)
        if path is None:
            raise StoreError(f"{folder}: DeepSpeed found no checkpoint in it; delete the folder to start again")

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The module with every weight in place on every rank (ZeRO 3 spreads them between steps), for exporting."""
        if self.wrapped.zero_optimization_partition_weights():
            with deepspeed.zero.GatheredParameters(list(self.module.parameters())):
                yield self.module
        else:
            yield self.module


def _start_single_process_group() -> None:
    """A process group of one, for tests and scripts that no launcher started."""
    meeting_point = Path(tempfile.mkdtemp(prefix="cryofound-group-")) / "store"
    torch.distributed.init_process_group("gloo", init_method=meeting_point.as_uri(), rank=0, world_size=1)
    # DeepSpeed asks these of the environment even when the group exists
    os.environ.setdefault("LOCAL_RANK", "0")
