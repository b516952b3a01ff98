"""Checkpoints: a damaged one is never loaded, and there is always an older one to go back to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cryofound.config import EngineConfig
from cryofound.errors import StoreError
from cryofound.manifest import read_manifest, write_manifest
from cryofound.training import checkpoints
from cryofound.training.engine import Engine


def engine_with(value: float) -> Engine:
    module = nn.Linear(2, 2)
    nn.init.constant_(module.weight, value)
    nn.init.constant_(module.bias, value)
    return Engine(module, EngineConfig(), weight_decay=0.0, gradient_clip=1.0)


def value_of(engine: Engine) -> float:
    assert isinstance(engine.module, nn.Linear)
    return float(engine.module.weight.detach().unique())


def save(folder: Path, step: int, **policy: Any) -> None:
    """A checkpoint whose weights are its step."""
    settings = {"keep_last": 2, "keep_best": 1, **policy}
    checkpoints.save(folder, step, engine_with(step), export=lambda module: module.state_dict(), config={}, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three saves of which two are kept; the weights tell the step."""
    for step in (10, 20, 30):
        save(tmp_path, step)
    return tmp_path


def test_the_newest_two_are_kept_and_the_newest_is_loaded(folder: Path) -> None:
    assert [path.name for path in checkpoints.found(folder)] == ["step-00000020", "step-00000030"]
    engine = engine_with(0)
    assert checkpoints.load_latest(folder, engine, pytest.fail) == 30
    assert value_of(engine) == 30


def test_the_best_by_validation_stay_beside_the_newest(tmp_path: Path) -> None:
    for step, loss in ((10, 3.0), (20, 1.0), (30, None), (40, 2.0), (50, 4.0), (60, None)):
        save(tmp_path, step, validation=loss, keep_last=1, keep_best=2)
    assert [path.name[-2:] for path in checkpoints.found(tmp_path)] == ["20", "40", "60"]
    assert [path.name[-2:] for path in checkpoints.best(tmp_path)] == ["20", "40"]
    checkpoints.keep_best_weights(tmp_path, tmp_path)
    assert load_file(tmp_path / checkpoints.BEST)["weight"].unique().tolist() == [20]


def test_a_checkpoint_holds_its_weights_as_an_export_does(folder: Path) -> None:
    module = nn.Linear(2, 2)
    checkpoints.load_weights(module, folder / "step-00000020")
    assert module.weight.detach().unique().tolist() == [20]


def test_empty_folder_starts_at_zero(tmp_path: Path) -> None:
    engine = engine_with(7)
    assert checkpoints.load_latest(tmp_path / "none", engine, pytest.fail) == 0
    assert value_of(engine) == 7


@pytest.mark.parametrize("damage", ["truncated", "one bit", "file gone", "manifest cut"])
def test_damaged_checkpoint_is_named_and_passed_over(folder: Path, damage: str) -> None:
    newest = folder / "step-00000030"
    weights = next((newest / "state").iterdir())
    content = weights.read_bytes()
    if damage == "truncated":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "one bit":
        weights.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    elif damage == "file gone":
        weights.unlink()
    else:
        (newest / "manifest.json").write_text("{")
    warnings: list[str] = []
    engine = engine_with(0)
    assert checkpoints.load_latest(folder, engine, warnings.append) == 20
    assert value_of(engine) == 20
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{newest}")


def test_half_written_checkpoint_is_not_found(folder: Path) -> None:
    (folder / "step-00000030").rename(folder / "step-00000040.partial")
    (folder / "step-00000050").mkdir()
    assert [path.name for path in checkpoints.found(folder)] == ["step-00000020"]


def test_checkpoint_of_another_zero_stage_is_refused_with_the_way_out(folder: Path) -> None:
    newest = folder / "step-00000030"
    facts = {key: value for key, value in read_manifest(newest).items() if key not in ("files", "schema_version")}
    write_manifest(newest, **{**facts, "zero_stage": 2})
    with pytest.raises(StoreError, match=r"step-00000030: written with ZeRO stage 2, this run has 0; set engine.zero"):
        checkpoints.load_latest(folder, engine_with(0), pytest.fail)


def test_export_reads_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    weights = {"a.b": torch.arange(6.0).reshape(2, 3), "c": torch.tensor([1.5])}
    checkpoints.save_export(tmp_path, weights, {"width": 3})
    with pytest.raises(StoreError, match="never finished"):
        checkpoints.load_export(tmp_path)
    write_manifest(tmp_path)
    loaded = checkpoints.load_export(tmp_path)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    assert checkpoints.load_export_config(tmp_path) == {"width": 3}
    path = tmp_path / checkpoints.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"model.safetensors: \d+ bytes, its manifest says \d+"):
        checkpoints.load_export(tmp_path)
    torch.save(weights, path)  # a pickle
    write_manifest(tmp_path)
    with pytest.raises(StoreError, match=r"model.safetensors: no safetensors"):
        checkpoints.load_export(tmp_path)


def test_weights_go_into_their_own_network_and_no_other(tmp_path: Path) -> None:
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    checkpoints.save_export(tmp_path, source.state_dict(), {})
    write_manifest(tmp_path)
    checkpoints.load_weights(target, tmp_path)
    assert torch.equal(target.weight, source.weight)
    assert torch.equal(target.bias, source.bias)
    with pytest.raises(StoreError, match=r"'bias' has shape \(3,\), this program's network \(4,\).*run again"):
        checkpoints.load_weights(nn.Linear(2, 4), tmp_path)
    with pytest.raises(StoreError, match=r"'bias' has shape \(3,\), this program's network none"):
        checkpoints.load_weights(nn.Linear(2, 3, bias=False), tmp_path)
