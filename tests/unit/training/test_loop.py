"""The loop: its learning rate in closed form, stopping and going on, validation, and saying no to infinity."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cryofound.config import EngineConfig
from cryofound.errors import TrainingError
from cryofound.training import checkpoints
from cryofound.training.engine import Engine
from cryofound.training.loop import Progress, Stage, learning_rate, train
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1
from tests.jobs.toy_stage import ToyStage
from tests.unit.training.hinges import hinge_recipe, two_hinges


def engine_of(stage: Stage, **config: object) -> Engine:
    return Engine(
        stage.module(),
        EngineConfig.model_validate(config),
        weight_decay=stage.weight_decay,
        gradient_clip=stage.gradient_clip,
    )


def run(
    stage: Stage, folder: Path, skip_steps: tuple[int, ...] = (), **config: object
) -> tuple[dict[str, Tensor], list[Progress]]:
    """Train in `folder` from what is there; the exported weights and what was logged."""
    engine = engine_of(stage, **config)
    logged: list[Progress] = []

    def on_checkpoint(step: int, validation: float | None) -> None:
        checkpoints.save(
            folder, step, engine, export=stage.export, config={}, validation=validation, keep_last=2, keep_best=1
        )

    train(
        engine,
        stage,
        start_step=checkpoints.load_latest(folder, engine, pytest.fail),
        seed=3,
        on_log=logged.append,
        on_checkpoint=on_checkpoint,
        skip_steps=skip_steps,
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
    assert [row.means for row in rest] == [row.means for row in whole_log[6:]]
    assert whole_log[-1].means["misfit"] < 0.2 * whole_log[0].means["misfit"]


def test_finished_stage_trains_no_further(tmp_path: Path) -> None:
    expected, _ = run(ToyStage(steps=20), tmp_path)
    weights, logged = run(ToyStage(steps=20), tmp_path)
    assert not logged
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_loss_that_is_not_finite_names_stage_step_and_remedy(tmp_path: Path) -> None:
    told = r"^toy: .*not finite at step 1 .*toy maps of step 1;.*lower toy.learning_rate \(1e\+"
    with pytest.raises(TrainingError, match=told):
        run(ToyStage(learning_rate=1e30), tmp_path)
    assert not list(tmp_path.iterdir())


def test_learning_rate_warms_up_linearly_then_follows_a_cosine_to_zero() -> None:
    stage = ToyStage(steps=105, learning_rate=2.0)
    assert [learning_rate(step, stage) for step in range(5)] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert learning_rate(5, stage) == pytest.approx(2.0)
    assert learning_rate(55, stage) == pytest.approx(1.0)
    assert learning_rate(105, stage) == pytest.approx(0.0)


class Poisoned(ToyStage):
    """A toy stage whose batch of step 25 holds no numbers."""

    def batch(self, step: int, part: int, parts: int) -> Tensor:
        return super().batch(step, part, parts) * (torch.nan if step == 25 else 1.0)


def test_a_batch_without_numbers_stops_before_anything_of_it_is_kept_and_can_be_left_out(tmp_path: Path) -> None:
    way_out = r"step 25 .*whose batch is toy maps of step 25; the last.*engine.skip_steps: \[25\]"
    with pytest.raises(TrainingError, match=way_out):
        run(Poisoned(), tmp_path / "stopped")
    assert [path.name for path in checkpoints.found(tmp_path / "stopped")] == ["step-00000010", "step-00000020"]
    weights, logged = run(Poisoned(), tmp_path / "stopped", skip_steps=(25,))
    assert logged[-1].step == 60
    healthy, _ = run(ToyStage(), tmp_path / "healthy", skip_steps=(25,))
    assert all(torch.equal(weights[name], healthy[name]) for name in healthy)


class Exploding(ToyStage):
    """A finite loss whose gradient is not."""

    def losses(self, module: nn.Module, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        first = next(module.parameters())
        return {"total": (first - first.detach()).abs().sqrt().sum()}


def test_a_gradient_that_is_not_finite_stops_too(tmp_path: Path) -> None:
    for zero_stage in (0, 1):
        with pytest.raises(TrainingError, match=r"not finite at step 0 .*gradient_norm=(nan|inf)"):
            run(Exploding(), tmp_path, zero_stage=zero_stage)


def test_more_parts_than_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="toy: the batch of 4 samples of step 0 cannot be shared by 1 work"):
        run(ToyStage(), tmp_path, accumulation=5)


class Still(ToyStage):
    """Without dropout nothing depends on how a batch is split; ZeRO 3 has weights in place within the module alone."""

    def module(self) -> nn.Module:
        module = super().module()
        assert isinstance(module, nn.Sequential)
        module[2] = nn.Identity()
        return module

    def losses(self, module: nn.Module, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        target = nn.functional.avg_pool3d(batch, 3, stride=1, padding=1)
        misfit = (module(batch + 0.1 * noise.normal("blur", batch.shape, batch.device)) - target).square().mean()
        return {"total": misfit, "misfit": misfit}


def test_accumulated_parts_train_as_whole_batches_do(tmp_path: Path) -> None:
    expected, log = run(Still(), tmp_path / "whole")
    weights, parts = run(Still(), tmp_path / "parts", accumulation=3)  # of 2, 1 and 1 maps
    for name in ("total", "gradient_norm"):
        assert [row.means[name] for row in parts] == pytest.approx([row.means[name] for row in log], rel=1e-4)
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5)


def test_validation_is_logged_and_decides_which_checkpoint_is_best(tmp_path: Path) -> None:
    stage = ToyStage(steps=60, learning_rate=0.2)
    stage.validate_every = 20
    _, logged = run(stage, tmp_path)
    validated = {row.step: row.validation for row in logged if row.validation}
    assert sorted(validated) == [20, 40, 60]
    assert checkpoints.best(tmp_path)[0].name == f"step-{min(validated, key=lambda step: validated[step]['loss']):08d}"

    plain, _ = run(ToyStage(steps=60, learning_rate=0.2), tmp_path / "unvalidated")
    with_it, _ = run(stage, tmp_path / "again")
    assert all(torch.equal(with_it[name], plain[name]) for name in plain)


def test_throughput_counts_samples_and_atoms(tmp_path: Path) -> None:
    _, logged = run(ToyStage(steps=10, seconds_per_step=0.05), tmp_path)
    assert 1 < logged[-1].samples_per_second < 4 / 0.05  # the machine may be busy with others
    assert logged[-1].atoms_per_second == pytest.approx(7 * logged[-1].samples_per_second)
    assert logged[-1].memory_gib > 0.1


def test_a_map_without_numbers_in_a_shard_is_named(tmp_path: Path) -> None:
    """A real stage 1 on a real shard, one of whose maps holds a NaN."""
    systems, shards = two_hinges(tmp_path, spoilt="short__b")
    stage = Stage1(hinge_recipe(batch_size=3), systems, shards)
    stage.steps, stage.checkpoint_every, stage.validate_every = 4, 1, 0
    bad = next(step for step in range(4) if "not finite" in stage.describe(step))
    told = rf"^stage1: .*step {bad} .*\(not finite: short__b\); the last checkpoint is kept.*skip_steps: \[{bad}\]"
    with pytest.raises(TrainingError, match=told):
        run(stage, tmp_path / "run")
    assert len(checkpoints.found(tmp_path / "run")) == min(bad, 2)
    skipped = tuple(step for step in range(4) if "not finite" in stage.describe(step))
    run(stage, tmp_path / "run", skip_steps=skipped)
    assert len(checkpoints.found(tmp_path / "run")) == 2
