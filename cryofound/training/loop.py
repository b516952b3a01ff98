"""The one training loop, and what it asks of a stage."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from cryofound.errors import TrainingError
from cryofound.training.noise import Noise, seed_of

if TYPE_CHECKING:  # what only reads a curve or defines a stage must not load DeepSpeed
    from cryofound.training.engine import Engine


class Stage(Protocol):
    """What is trained: a module, its batches and its losses. Stateless: all state is in the module."""

    name: str
    steps: int
    batch_size: int
    checkpoint_every: int
    log_every: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    gradient_clip: float

    def module(self) -> nn.Module:
        """A new module with its initial weights, the same at every call."""
        ...

    def batch(self, step: int, part: int, parts: int) -> Any:
        """The samples [part::parts] of the `batch_size` of step `step`: a pure function, so that resuming is exact."""
        ...

    def losses(self, module: nn.Module, batch: Any, noise: Noise) -> dict[str, Tensor]:
        """Scalars, each a mean over the batch; `total` is minimised, the others are logged. Random numbers: `noise`."""
        ...

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        """The named fp32 tensors that sampling needs, for safetensors."""
        ...


@dataclass(frozen=True)
class Progress:
    """One logged moment: losses are means over ranks and the steps since the last one, the rate since the start."""

    step: int
    steps: int
    losses: dict[str, float]
    learning_rate: float
    steps_per_second: float


def learning_rate(step: int, stage: Stage) -> float:
    """Linear warm-up over `warmup_steps`, then a cosine to zero at `steps`."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    done = (step - stage.warmup_steps) / max(1, stage.steps - stage.warmup_steps)
    return stage.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def train(
    engine: "Engine",
    stage: Stage,
    *,
    start_step: int,
    seed: int,
    on_log: Callable[[Progress], None],
    on_checkpoint: Callable[[int], None],
) -> None:
    """Take the steps `start_step` ... `stage.steps` - 1; every rank calls it.

    A step depends on (seed, step, rank) and the engine's state alone, so stopping and going on changes nothing.
    `on_log` gets a Progress every `log_every` steps, `on_checkpoint` the number of finished steps every
    `checkpoint_every`, both also after the last step. Raises TrainingError at a loss that is not finite.
    """
    sums: dict[str, float] = {}
    summed, began = 0, time.monotonic()
    for step in range(start_step, stage.steps):
        torch.manual_seed(seed_of(seed, step, engine.rank))  # dropout and the like draw from the global generator
        noise = Noise(seed, step, range(stage.batch_size)[engine.rank :: engine.world])
        batch = to_device(stage.batch(step, engine.rank, engine.world), engine.device)
        with torch.autocast(engine.device.type, torch.bfloat16, enabled=engine.autocast):
            losses = stage.losses(engine.module, batch, noise)
        means = _means(engine, losses)
        if not all(math.isfinite(value) for value in means.values()):
            raise TrainingError(_not_finite(stage, step, engine, means))
        engine.step(losses["total"], learning_rate(step, stage))

        for name, value in means.items():
            sums[name] = sums.get(name, 0.0) + value
        summed, done = summed + 1, step + 1
        if done % stage.log_every == 0 or done == stage.steps:
            rate = (done - start_step) / max(time.monotonic() - began, 1e-9)
            on_log(
                Progress(
                    step=done,
                    steps=stage.steps,
                    losses={name: value / summed for name, value in sums.items()},
                    learning_rate=learning_rate(step, stage),
                    steps_per_second=rate,
                )
            )
            sums, summed = {}, 0
        if done % stage.checkpoint_every == 0 or done == stage.steps:
            on_checkpoint(done)


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of nested dicts, tuples, lists and objects that have `.to` to `device`."""
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch.to(device) if hasattr(batch, "to") else batch


def _means(engine: "Engine", losses: dict[str, Tensor]) -> dict[str, float]:
    names = sorted(losses)
    values = torch.stack([losses[name].detach().float() for name in names])
    return dict(zip(names, engine.mean(values).tolist(), strict=True))


def _not_finite(stage: Stage, step: int, engine: "Engine", means: dict[str, float]) -> str:
    values = ", ".join(f"{name}={value:.4g}" for name, value in means.items())
    return (
        f"{stage.name}: the loss is not finite at step {step} ({values}; batch {step} over {engine.world} workers); "
        f"lower {stage.name}.learning_rate ({stage.learning_rate:g}) or {stage.name}.gradient_clip "
        f"({stage.gradient_clip:g}), and look at the maps of that batch"
    )
