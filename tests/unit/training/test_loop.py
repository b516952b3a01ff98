"""The loop: its learning rate in closed form, stopping and going on, several ranks, and saying no to infinity."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn

from cryofound.config import EngineConfig
from cryofound.errors import TrainingError
from cryofound.training import checkpoints
from cryofound.training.engine import Engine
from cryofound.training.loop import Progress, Stage, learning_rate, train
from cryofound.training.noise import Noise
from tests.jobs.toy_stage import ToyStage


def engine_of(stage: Stage, **config: object) -> Engine:
    return Engine(
        stage.module(),
        EngineConfig.model_validate(config),
        weight_decay=stage.weight_decay,
        gradient_clip=stage.gradient_clip,
    )


def run(stage: Stage, folder: Path, **config: object) -> tuple[dict[str, Tensor], list[Progress]]:
    """Train in `folder` from what is there; the exported weights and what was logged."""
    engine = engine_of(stage, **config)
    logged: list[Progress] = []
    train(
        engine,
        stage,
        start_step=checkpoints.load_latest(folder, engine, pytest.fail),
        seed=3,
        on_log=logged.append,
        on_checkpoint=lambda step: checkpoints.save(folder, step, engine) and None,
    )
    with engine.whole() as module:
        return stage.export(module), logged


class Interrupted(Exception):
    pass


class StopsAt(ToyStage):
    """A toy stage that dies when the batch of step `death` is asked for."""

    death = 37

    def batch(self, step: int, part: int, parts: int) -> Tensor:
        if step == self.death:
            raise Interrupted
        return super().batch(step, part, parts)


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_stopping_and_going_on_changes_no_bit(zero_stage: int, tmp_path: Path) -> None:
    expected, whole_log = run(ToyStage(), tmp_path / "whole", zero_stage=zero_stage)
    with pytest.raises(Interrupted):
        run(StopsAt(), tmp_path / "parts", zero_stage=zero_stage)
    assert [path.name for path in checkpoints.found(tmp_path / "parts")] == ["step-00000020", "step-00000030"]
    weights, rest = run(ToyStage(), tmp_path / "parts", zero_stage=zero_stage)

    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert [row.step for row in rest] == [35, 40, 45, 50, 55, 60]
    assert [row.losses for row in rest] == [row.losses for row in whole_log[6:]]
    assert whole_log[-1].losses["misfit"] < 0.2 * whole_log[0].losses["misfit"]


def test_finished_stage_trains_no_further(tmp_path: Path) -> None:
    expected, _ = run(ToyStage(steps=20), tmp_path)
    weights, logged = run(ToyStage(steps=20), tmp_path)
    assert not logged
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_loss_that_is_not_finite_names_stage_step_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^toy: .*not finite at step 1 .*batch 1.*lower toy.learning_rate \(1e\+"):
        run(ToyStage(learning_rate=1e30), tmp_path)
    assert not list(tmp_path.iterdir())


def test_learning_rate_warms_up_linearly_then_follows_a_cosine_to_zero() -> None:
    stage = ToyStage(steps=105, learning_rate=2.0)
    assert [learning_rate(step, stage) for step in range(5)] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert learning_rate(5, stage) == pytest.approx(2.0)
    assert learning_rate(55, stage) == pytest.approx(1.0)
    assert learning_rate(105, stage) == pytest.approx(0.0)


class QuietStage(ToyStage):
    """A toy stage without randomness of its own, so that ranks share one global batch exactly."""

    def module(self) -> nn.Module:
        return super().module().eval()

    def losses(self, module: nn.Module, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        target = nn.functional.avg_pool3d(batch, 3, stride=1, padding=1)
        return {"total": (module.eval()(batch) - target).square().mean()}


def _rank(rank: int, world: int, folder: str) -> None:
    os.environ.update(LOCAL_RANK=str(rank))
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.set_num_threads(1)
    weights, logged = run(QuietStage(steps=20), Path(folder) / "checkpoints", zero_stage=1)
    torch.save((weights, [row.losses for row in logged]), f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_train_as_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (2, str(tmp_path)), nprocs=2)
    expected, logged = run(QuietStage(steps=20), tmp_path / "alone", zero_stage=1)
    for rank in range(2):
        weights, losses = torch.load(tmp_path / f"rank{rank}.pt")
        assert losses == [pytest.approx(row.losses, rel=1e-5) for row in logged]
        for name, value in expected.items():
            torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-7)
