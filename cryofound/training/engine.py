"""DeepSpeed behind a few calls: build, add gradients, step, save, load. Nothing else imports deepspeed."""

import logging
import os
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read at the first import of deepspeed

import deepspeed
import deepspeed.ops
from deepspeed.checkpoint import ds_to_universal
from deepspeed.runtime.base_optimizer import ZeROOptimizer
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
        "gradient_accumulation_steps": config.accumulation,
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
        self.zero_stage, self.accumulation = config.zero_stage, config.accumulation
        self.module = module.to(self.device)
        if config.activation_checkpointing:
            recompute_blocks(self.module)
        trained = [weight for weight in self.module.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=weight_decay)
        self.wrapped, *_ = deepspeed.initialize(
            model=self.module,
            optimizer=self._optimizer,
            config=deepspeed_settings(config, gradient_clip),
            dist_init_required=False,
        )

    def add_gradient(self, loss: Tensor, share: float) -> None:
        """The backward pass of a mean over a part that is `share` of the global batch, `accumulation` times a step."""
        if isinstance(self.wrapped.optimizer, ZeROOptimizer):
            # as DeepSpeed's own forward does; without it ZeRO 3 forgets the parts before the last
            self.wrapped.optimizer.clear_backward_seen_flag()
        self.wrapped.backward(loss * (share * self.world), scale_wrt_gas=False)  # DeepSpeed averages over ranks
        if not self.wrapped.is_gradient_accumulation_boundary():
            self.wrapped.step()  # only counts

    def step(self, learning_rate: float) -> float:
        """Clip the gradient of the whole batch and take one AdamW step; the gradient's norm before clipping."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        if self.zero_stage:
            self.wrapped.step()
            return float(self.wrapped.get_global_grad_norm() or 0.0)
        gradients = [weight.grad for weight in self.module.parameters() if weight.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        self.wrapped.step()
        return norm

    def total(self, values: Tensor) -> Tensor:
        """Sum of a tensor over ranks; the same on every rank."""
        return self._reduced(values, torch.distributed.ReduceOp.SUM)

    def largest(self, values: Tensor) -> Tensor:
        """Largest of each number over ranks; the same on every rank."""
        return self._reduced(values, torch.distributed.ReduceOp.MAX)

    def peak_gib(self) -> float:
        """The most memory that this rank ever held, GiB: allocated by torch on CUDA, resident on the CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        # not getrusage: that counts what the process was before it became this program
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 2**20

    def _reduced(self, values: Tensor, how: torch.distributed.ReduceOp.RedOpType) -> Tensor:
        if self.world == 1:
            return values
        values = values.to(self.device, copy=True)
        torch.distributed.all_reduce(values, how)
        return values

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

    def load(self, folder: Path, *, universal: bool = False) -> None:
        """Restore what `save` wrote, or with `universal` what `to_universal` made of it.

        The files are pickles: only folders whose checksums were compared come here.
        """
        # documented as a setting of `initialize`, when the folder is not known yet; read when loading alone
        settings = self.wrapped._config
        assert settings is not None, "initialize sets it"
        settings.load_universal_checkpoint = universal
        path, _ = self.wrapped.load_checkpoint(str(folder), tag=_TAG)
        if path is None:
            raise StoreError(f"{folder}: DeepSpeed found no checkpoint in it; delete the folder to start again")

    @staticmethod
    def to_universal(folder: Path, target: Path) -> None:
        """Rewrite into `target` what `save` put into `folder` with ZeRO 1 to 3, for any number of ranks."""
        settings = Namespace(
            input_folder=str(folder / _TAG),
            output_folder=str(target / _TAG),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
        )
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            ds_to_universal.main(settings)

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The module with every weight in place on every rank (ZeRO 3 spreads them between steps), for exporting."""
        if self.wrapped.zero_optimization_partition_weights():
            with deepspeed.zero.GatheredParameters(list(self.module.parameters())):
                yield self.module
        else:
            yield self.module


def recompute_blocks(module: nn.Module) -> None:
    """Have every block that says so (`recomputable`) keep its inputs alone and run again in the backward pass."""
    for block in module.modules():
        if getattr(block, "recomputable", False):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _start_single_process_group() -> None:
    """A process group of one, for tests and scripts that no launcher started."""
    meeting_point = Path(tempfile.mkdtemp(prefix="cryofound-group-")) / "store"
    torch.distributed.init_process_group("gloo", init_method=meeting_point.as_uri(), rank=0, world_size=1)
    # DeepSpeed asks these of the environment even when the group exists
    os.environ.setdefault("LOCAL_RANK", "0")
