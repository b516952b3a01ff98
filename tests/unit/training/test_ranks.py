"""Two ranks against one: the same gradients of the real stages, and one curve through changes of their number."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cryofound.training import checkpoints
from cryofound.training.checkpoints import WEIGHTS
from cryofound.training.curve import append_row, cut_curve, read_curve
from cryofound.training.engine import Engine
from cryofound.training.loop import Progress, train
from cryofound.training.stage1 import Stage1
from cryofound.training.stage2 import Stage2
from tests.unit.training.hinges import hinge_recipe, two_hinges
from tests.unit.training.ranks import in_ranks
from tests.unit.training.test_loop import Interrupted, Still, engine_of

pytestmark = pytest.mark.slow

ZERO_STAGES = (0, 1, 3)


def disturbed(module: nn.Module) -> nn.Module:
    """The module with noise in every weight: some begin at zero, and what they would pass on with them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return module


def write_gradients(folder: Path) -> None:
    """The gradients of a first step of both stages, which two ranks cannot share evenly, and its losses."""
    recipe = hinge_recipe(batch_size=3)
    systems, shards = two_hinges(folder)
    stage1 = Stage1(recipe, systems, shards)
    for stage in (stage1, Stage2(recipe, systems, shards, stage1.module().eval())):
        engine = engine_of(stage)
        disturbed(engine.module)
        stage.steps, stage.log_every, stage.validate_every = 1, 1, 0
        kept: dict[str, object] = {}

        def step(rate: float, engine: Engine = engine, kept: dict[str, object] = kept) -> float:
            kept["gradient"] = {name: weight.grad.clone() for name, weight in engine.module.named_parameters()}
            return Engine.step(engine, rate)

        engine.step = step
        train(
            engine,
            stage,
            start_step=0,
            seed=1,
            on_log=lambda progress, kept=kept: kept.update(means=progress.means),
            on_checkpoint=lambda *_: None,
        )
        torch.save(kept, folder / f"{stage.name}-{engine.world}-{engine.rank}.pt")


class Stops(Still):
    """A stage that dies when the batch of step `death` is asked for."""

    death = -1

    def batch(self, step: int, part: int, parts: int) -> torch.Tensor:
        if step == self.death:
            raise Interrupted
        return super().batch(step, part, parts)


def train_until(death: int, zero_stages: Sequence[int], folder: Path) -> None:
    """Train with each ZeRO stage in `folder/<stage>` from what is there, until `death` or the end, as a job does."""
    for zero_stage in zero_stages:
        place = folder / str(zero_stage)
        stage = Stops()
        stage.death = death
        engine = engine_of(stage, zero_stage=zero_stage)
        start_step = checkpoints.load_latest(place, engine, pytest.fail)
        if engine.rank == 0:
            place.mkdir(parents=True, exist_ok=True)
            cut_curve(place, start_step)

        def on_log(progress: Progress, place: Path = place, first: bool = engine.rank == 0) -> None:
            if first:
                append_row(place, progress)

        save = partial(checkpoints.save, place, engine=engine, export=stage.export, config={}, keep_last=2, keep_best=0)
        with suppress(Interrupted):
            train(
                engine,
                stage,
                start_step=start_step,
                seed=3,
                on_log=on_log,
                on_checkpoint=lambda step, _, save=save: save(step=step) and None,
            )


def first_job(folder: Path) -> None:
    """All that two ranks do before one rank takes over, in one start of theirs."""
    write_gradients(folder)
    train_until(-1, ZERO_STAGES, folder / "whole")
    train_until(25, ZERO_STAGES, folder / "changing")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    in_ranks(2, first_job, folder)
    return folder


def test_gradients_of_two_ranks_are_those_of_one(two_ranks: Path) -> None:
    write_gradients(two_ranks)
    for name in ("stage1", "stage2"):
        alone = torch.load(two_ranks / f"{name}-1-0.pt")
        for rank in range(2):
            shared = torch.load(two_ranks / f"{name}-2-{rank}.pt")
            assert shared["means"] == pytest.approx(alone["means"], rel=1e-5)
            whole = torch.stack([gradient.norm() for gradient in alone["gradient"].values()]).norm()
            assert whole > 0.01
            for weight, gradient in alone["gradient"].items():
                error = (shared["gradient"][weight] - gradient).norm()
                assert error < 1e-5 * max(float(gradient.norm()), 1e-3 * float(whole)), (name, weight)


def test_one_curve_through_two_one_and_two_ranks(two_ranks: Path) -> None:
    whole, changing = two_ranks / "whole", two_ranks / "changing"
    train_until(45, ZERO_STAGES, changing)
    in_ranks(2, train_until, -1, ZERO_STAGES, changing)
    for zero_stage in ZERO_STAGES:
        expected, curve = (read_curve(place / str(zero_stage)) for place in (whole, changing))
        assert [row["step"] for row in curve] == list(range(5, 61, 5))
        assert expected[-1]["misfit"] < 0.2 * expected[0]["misfit"]
        for name in ("total", "misfit", "gradient_norm"):
            assert [row[name] for row in curve] == pytest.approx([row[name] for row in expected], rel=1e-4)
        final = [load_file(checkpoints.found(place / str(zero_stage))[-1] / WEIGHTS) for place in (whole, changing)]
        for name, value in final[0].items():
            torch.testing.assert_close(final[1][name], value, rtol=1e-4, atol=1e-5)
        assert not list(changing.glob("*/universal-*"))
