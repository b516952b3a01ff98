"""The one training loop, and what it asks of a stage."""

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from cryofound.errors import TrainingError
from cryofound.training.noise import Noise, seed_of

if TYPE_CHECKING:  # what only reads a curve or defines a stage must not load DeepSpeed
    from cryofound.training.engine import Engine

LOSS = "loss"  # the validation metric that tells which checkpoint is best


class Stage(Protocol):
    """What is trained: a module, its batches and its losses. Stateless: all state is in the module.

    `validate_every`, `checkpoint_every` and `log_every` are in steps; without the first (0), nothing is validated.
    """

    name: str
    steps: int
    checkpoint_every: int
    validate_every: int
    log_every: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    gradient_clip: float

    def module(self) -> nn.Module:
        """A new module with its initial weights, the same at every call."""
        ...

    def samples(self, step: int) -> int:
        """How many samples the batch of a step has, over all ranks."""
        ...

    def batch(self, step: int, part: int, parts: int) -> Any:
        """The samples [part::parts] of the batch of step `step`: a pure function, so that resuming is exact."""
        ...

    def atoms(self, batch: Any) -> int:
        """Atoms of all samples of a batch, without padding."""
        ...

    def describe(self, step: int) -> str:
        """What the batch of a step holds, for the one line of an error: its samples, and what is wrong with them."""
        ...

    def losses(self, module: nn.Module, batch: Any, noise: Noise) -> dict[str, Tensor]:
        """Scalars, each a mean over the batch; `total` is minimised, the others are logged. Random numbers: `noise`."""
        ...

    def validate(self, module: nn.Module, part: int, parts: int) -> dict[str, Tensor]:
        """Metrics of one of `parts` parts of the validation set, each as (sum, count): what they sum to is the metric.

        The names are those of all parts; `loss`, where small is good, is among them. Called without gradients on a
        module in evaluation mode; with ZeRO 3, every part must call the module as often as the others.
        """
        ...

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        """The named fp32 tensors that sampling needs, for safetensors."""
        ...


@dataclass(frozen=True)
class Progress:
    """One logged moment of all ranks together.

    means: losses and `gradient_norm` over the steps since the last moment, none if all were left out; so are
    samples_per_second and atoms_per_second, of training alone; steps_per_second is since the start, of everything.
    memory_gib: the most that any rank ever held. validation: metrics, where this step was validated.
    """

    step: int
    steps: int
    means: dict[str, float]
    learning_rate: float
    steps_per_second: float
    samples_per_second: float
    atoms_per_second: float
    memory_gib: float
    validation: dict[str, float]


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
    on_checkpoint: Callable[[int, float | None], None],
    skip_steps: Collection[int] = (),
) -> None:
    """Take the steps `start_step` ... `stage.steps` - 1 but those of `skip_steps`; every rank calls it.

    A step depends on its number, `seed` and the engine's state, so stopping and going on changes nothing; neither does
    the number of ranks, but for dropout and rounding. `on_log` gets a Progress every `log_every` steps and where it was
    validated; `on_checkpoint` the number of finished steps every `checkpoint_every`, and the validation loss of that
    moment if there is one. All three are also due after the last step. Raises TrainingError at a loss or gradient that
    is not finite, before anything that comes of it is logged or saved, and if there are more parts than samples.
    """
    window, began = _Window(), time.monotonic()
    for step in range(start_step, stage.steps):
        if step not in skip_steps:
            started = time.monotonic()
            taken, samples = _take_step(engine, stage, step, seed)
            window.add(taken, samples, time.monotonic() - started)
        done = step + 1
        validated, logged, saved = (
            every > 0 and (done % every == 0 or done == stage.steps)
            for every in (stage.validate_every, stage.log_every, stage.checkpoint_every)
        )
        validation = _validate(engine, stage) if validated else {}
        if logged or validated:
            on_log(
                Progress(
                    step=done,
                    steps=stage.steps,
                    means=window.means(),
                    learning_rate=learning_rate(step, stage),
                    steps_per_second=(done - start_step) / max(time.monotonic() - began, 1e-9),
                    samples_per_second=window.samples / max(window.seconds, 1e-9),
                    atoms_per_second=window.atoms / max(window.seconds, 1e-9),
                    memory_gib=float(engine.largest(torch.tensor(engine.peak_gib()))),
                    validation=validation,
                )
            )
            window = _Window()
        if saved:
            on_checkpoint(done, validation.get(LOSS))


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of nested dicts, tuples, lists and objects that have `.to` to `device`."""
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch.to(device) if hasattr(batch, "to") else batch


@dataclass
class _Window:
    """What is summed up between two logged moments."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    samples: int = 0
    atoms: float = 0.0
    seconds: float = 0.0

    def add(self, taken: dict[str, float], samples: int, seconds: float) -> None:
        for name, value in taken.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.atoms += self.sums.pop(_ATOMS)
        self.steps, self.samples, self.seconds = self.steps + 1, self.samples + samples, self.seconds + seconds

    def means(self) -> dict[str, float]:
        return {name: value / self.steps for name, value in self.sums.items()}


_ATOMS = "atoms"


def _take_step(engine: "Engine", stage: Stage, step: int, seed: int) -> tuple[dict[str, float], int]:
    """One step of all ranks, in `accumulation` parts each: losses of the whole batch, gradient_norm, atoms; samples."""
    samples, parts = stage.samples(step), engine.world * engine.accumulation
    if samples < parts:
        raise TrainingError(
            f"{stage.name}: the batch of {samples} samples of step {step} cannot be shared by {engine.world} workers "
            f"in {engine.accumulation} parts each; raise {stage.name}.batch_size, or lower engine.workers or "
            "engine.accumulation"
        )
    taken: dict[str, float] = {}
    for part in range(engine.rank, parts, engine.world):
        places = range(samples)[part::parts]
        share = len(places) / samples
        torch.manual_seed(seed_of(seed, step, part))  # dropout and the like draw from the global generator
        batch = to_device(stage.batch(step, part, parts), engine.device)
        with torch.autocast(engine.device.type, torch.bfloat16, enabled=engine.autocast):
            losses = stage.losses(engine.module, batch, Noise(seed, step, places))
        names = sorted(losses)
        values = [share * losses[name].detach().float() for name in names]
        values.append(torch.tensor(float(stage.atoms(batch)), device=values[0].device))
        for name, value in zip([*names, _ATOMS], engine.total(torch.stack(values)).tolist(), strict=True):
            taken[name] = taken.get(name, 0.0) + value
        _check_finite(engine, stage, step, taken)
        engine.add_gradient(losses["total"], share)
    taken["gradient_norm"] = engine.step(learning_rate(step, stage))
    _check_finite(engine, stage, step, taken)
    return taken, samples


def _validate(engine: "Engine", stage: Stage) -> dict[str, float]:
    """Metrics over the parts of all ranks; the module is left in training mode or not, as it was."""
    training = engine.module.training
    engine.module.eval()
    with torch.no_grad(), torch.autocast(engine.device.type, torch.bfloat16, enabled=engine.autocast):
        sums = stage.validate(engine.module, engine.rank, engine.world)
    engine.module.train(training)
    names = sorted(sums)
    totals = engine.total(torch.stack([sums[name].float() for name in names])).tolist()
    return {name: total / count for name, (total, count) in zip(names, totals, strict=True) if count}


def _check_finite(engine: "Engine", stage: Stage, step: int, taken: dict[str, float]) -> None:
    if all(math.isfinite(value) for value in taken.values()):
        return
    values = ", ".join(f"{name}={value:.4g}" for name, value in taken.items() if name != _ATOMS)
    raise TrainingError(
        f"{stage.name}: the loss is not finite at step {step} of {engine.world} workers ({values}), whose batch is "
        f"{stage.describe(step)}; the last checkpoint is kept. Mend these samples, lower {stage.name}.learning_rate "
        f"({stage.learning_rate:g}) or {stage.name}.gradient_clip ({stage.gradient_clip:g}), or leave this batch out "
        f"with engine.skip_steps: [{step}], and run again"
    )
