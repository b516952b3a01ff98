"""The engine against plain torch: DeepSpeed must change where numbers live, never what they are."""

from pathlib import Path

import deepspeed.ops
import pytest
import torch
from torch import Tensor, nn

from cryofound.config import EngineConfig
from cryofound.training.engine import Engine

INPUT = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
TARGET = INPUT.sum(1, keepdim=True)
CLIP, DECAY = 0.5, 0.05


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 1))


def misfit(module: nn.Module) -> Tensor:
    return (module(INPUT) - TARGET).square().mean()


def rate(step: int) -> float:
    return 1e-2 * (1 + step % 3)


def engine_losses(engine: Engine, steps: range) -> list[float]:
    losses = []
    for step in steps:
        loss = misfit(engine.module)
        losses.append(loss.item())
        engine.step(loss, rate(step))
    return losses


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_engine_takes_the_steps_of_torch_adamw(zero_stage: int) -> None:
    engine = Engine(network(), EngineConfig(zero_stage=zero_stage), weight_decay=DECAY, gradient_clip=CLIP)
    losses = engine_losses(engine, range(20))

    module = network()
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=DECAY)
    expected = []
    for step in range(20):
        optimizer.param_groups[0]["lr"] = rate(step)
        loss = misfit(module)
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimizer.step()

    assert expected[-1] < 0.5 * expected[0]
    # DeepSpeed sums the squares of the gradient in another order before it clips
    assert losses == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_saved_and_loaded_engine_goes_on_bit_for_bit(zero_stage: int, tmp_path: Path) -> None:
    config = EngineConfig(zero_stage=zero_stage)
    engine = Engine(network(), config, weight_decay=DECAY, gradient_clip=CLIP)
    engine_losses(engine, range(7))
    engine.save(tmp_path)
    undisturbed = engine_losses(engine, range(7, 15))

    resumed = Engine(network(), config, weight_decay=DECAY, gradient_clip=CLIP)
    resumed.load(tmp_path)
    assert engine_losses(resumed, range(7, 15)) == undisturbed


def test_whole_module_has_every_weight_in_place_with_zero_3() -> None:
    engine = Engine(network(), EngineConfig(zero_stage=3), weight_decay=DECAY, gradient_clip=CLIP)
    with engine.whole() as module:
        shapes = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    assert shapes == {"0.weight": (16, 8), "0.bias": (16,), "2.weight": (1, 16), "2.bias": (1,)}


def test_deepspeed_still_has_the_switch_that_keeps_it_from_compiling() -> None:
    assert "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__
    Engine(network(), EngineConfig(), weight_decay=DECAY, gradient_clip=CLIP)
    if not torch.cuda.is_available():
        assert deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] is False
