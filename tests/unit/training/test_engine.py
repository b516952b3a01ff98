"""The engine against plain torch: DeepSpeed must change where numbers live, never what they are."""

from pathlib import Path

import deepspeed.ops
import psutil
import pytest
import torch
from torch import Tensor, nn

from cryofound.config import EngineConfig
from cryofound.models.layers import TokenConvNeXt
from cryofound.training.engine import Engine, recompute_blocks
from cryofound.training.live_tensors import LiveTensors

INPUT = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
TARGET = INPUT.sum(1, keepdim=True)
CLIP, DECAY = 0.5, 0.05


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 1))


def misfit(module: nn.Module, rows: slice = slice(None)) -> Tensor:
    return (module(INPUT[rows]) - TARGET[rows]).square().mean()


def engine_of(module: nn.Module, **settings: object) -> Engine:
    return Engine(module, EngineConfig.model_validate(settings), weight_decay=DECAY, gradient_clip=CLIP)


def rate(step: int) -> float:
    return 1e-2 * (1 + step % 3)


def engine_losses(engine: Engine, steps: range) -> list[float]:
    """Losses of whole-batch steps; the batch is taken in `engine.accumulation` parts of unequal size."""
    losses = []
    for step in steps:
        losses.append(0.0)
        for part in range(engine.accumulation):
            rows = slice(part, None, engine.accumulation)
            loss, share = misfit(engine.module, rows), len(INPUT[rows]) / len(INPUT)
            losses[-1] += share * loss.item()
            engine.add_gradient(loss, share)
        norms.append(engine.step(rate(step)))
    return losses


norms: list[float] = []


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_engine_takes_the_steps_of_torch_adamw(zero_stage: int, accumulation: int) -> None:
    engine = engine_of(network(), zero_stage=zero_stage, accumulation=accumulation)
    norms.clear()
    losses = engine_losses(engine, range(20))

    module = network()
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=DECAY)
    expected, expected_norms = [], []
    for step in range(20):
        optimizer.param_groups[0]["lr"] = rate(step)
        loss = misfit(module)
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        expected_norms.append(nn.utils.clip_grad_norm_(module.parameters(), CLIP).item())
        optimizer.step()

    assert expected[-1] < 0.5 * expected[0]
    # DeepSpeed sums the squares of the gradient in another order before it clips
    assert losses == pytest.approx(expected, rel=1e-5)
    assert norms == pytest.approx(expected_norms, rel=1e-5)
    assert max(norms) > 2 * CLIP


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_saved_and_loaded_engine_goes_on_bit_for_bit(zero_stage: int, tmp_path: Path) -> None:
    engine = engine_of(network(), zero_stage=zero_stage)
    engine_losses(engine, range(7))
    engine.save(tmp_path)
    undisturbed = engine_losses(engine, range(7, 15))

    resumed = engine_of(network(), zero_stage=zero_stage)
    resumed.load(tmp_path)
    assert engine_losses(resumed, range(7, 15)) == undisturbed


def test_whole_module_has_every_weight_in_place_with_zero_3() -> None:
    engine = engine_of(network(), zero_stage=3)
    with engine.whole() as module:
        shapes = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    assert shapes == {"0.weight": (16, 8), "0.bias": (16,), "2.weight": (1, 16), "2.bias": (1,)}


class Chain(nn.Module):
    """Six blocks on a chain of tokens, each the neighbour of the two beside it."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem = nn.Linear(8, 32)
            self.blocks = nn.ModuleList([TokenConvNeXt(32) for _ in range(6)])
        self.neighbours = torch.full((1, tokens, 27), tokens)
        self.neighbours[0, :, 13] = torch.arange(tokens)
        self.neighbours[0, 1:, 12], self.neighbours[0, :-1, 14] = torch.arange(tokens - 1), torch.arange(1, tokens)

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.stem(values)[None]
        for block in self.blocks:
            hidden = block(hidden, self.neighbours, torch.ones(1, len(values), dtype=torch.bool))
        return hidden[0]


def test_recomputed_blocks_have_the_same_gradient_and_keep_less() -> None:
    values = torch.randn(3000, 8, generator=torch.Generator().manual_seed(2))
    gradients, peaks = [], []
    for recomputed in (False, True):
        module = Chain(len(values))
        if recomputed:
            recompute_blocks(module)
        with LiveTensors() as live:
            module(values).square().mean().backward()
        peaks.append(live.peak)
        gradients.append({name: weight.grad for name, weight in module.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=0)
    assert peaks[1] < 0.45 * peaks[0]


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_recomputing_changes_no_step(zero_stage: int) -> None:
    values = INPUT[:50]
    losses = []
    for recomputed in (False, True):
        engine = engine_of(Chain(50), zero_stage=zero_stage, activation_checkpointing=recomputed)
        losses.append([])
        for _ in range(5):
            loss = (engine.module(values)[:, :1] - TARGET[:50]).square().mean()
            losses[-1].append(loss.item())
            engine.add_gradient(loss, 1.0)
            engine.step(1e-3)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[0][-1] < losses[0][0]


def test_peak_memory_is_what_the_process_ever_held() -> None:
    engine = engine_of(network())
    resident = psutil.Process().memory_info().rss / 2**30
    before = engine.peak_gib()
    assert before >= 0.99 * resident
    if engine.device.type == "cpu":
        torch.ones(2**25).sum()  # an eighth of a GiB
        assert engine.peak_gib() >= resident + 0.12


def test_deepspeed_still_has_the_switch_that_keeps_it_from_compiling() -> None:
    assert "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__
    engine_of(network())
    if not torch.cuda.is_available():
        assert deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] is False
