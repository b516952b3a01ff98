"""Checkpoints: numbered folders, each written aside, checksummed and renamed, so that one is whole or not there.

Each holds DeepSpeed's state and, like a finished stage, an export: `model.safetensors` (fp32) and `config.json`, which
can be looked at and sampled from. Only exports leave the training code.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cryofound.disk import room_for
from cryofound.errors import StoreError
from cryofound.manifest import PARTIAL, is_finished, publishing, read_manifest, write_manifest

if TYPE_CHECKING:  # reading an export must not load DeepSpeed
    from cryofound.training.engine import Engine

WEIGHTS, CONFIG, BEST = "model.safetensors", "config.json", "best.safetensors"
_PREFIX, _UNIVERSAL = "step-", "universal-"


def save(
    folder: Path,
    step: int,
    engine: "Engine",
    *,
    export: Callable[[nn.Module], dict[str, Tensor]],
    config: Mapping[str, Any],
    validation: float | None = None,
    keep_last: int,
    keep_best: int,
) -> Path:
    """Write the engine's state after `step` steps to `folder/step-<step>`; every rank calls it, rank 0 publishes.

    `export` gives the weights of `model.safetensors` and `config` says how to build their module. `validation` is the
    loss by which the `keep_best` best stay; the `keep_last` newest stay beside them. The folder must be one that all
    ranks share. Raises StoreError, and leaves the older ones, where there is no room for it.
    """
    final = Path(folder) / f"{_PREFIX}{step:08d}"
    partial = final.with_name(final.name + PARTIAL)
    if engine.rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    engine.barrier()
    with room_for(f"the checkpoint of step {step}", partial, _size(folder, engine), discard=True):
        engine.save(partial)
        with engine.whole() as module:
            if engine.rank == 0:
                save_export(partial, export(module), dict(config))
        engine.barrier()
        if engine.rank == 0:
            write_manifest(partial, step=step, world=engine.world, zero_stage=engine.zero_stage, validation=validation)
    if engine.rank == 0:
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        everything = found(folder)
        for old in {*everything} - {*everything[-keep_last:], *best(folder)[:keep_best]}:
            shutil.rmtree(old)
    engine.barrier()
    return final


def _size(folder: Path, engine: "Engine") -> int:
    """About how many bytes a checkpoint takes: as many as the last one, else what weights and optimiser take."""
    for path in found(folder)[-1:]:
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    numbers = sum(getattr(weight, "ds_numel", weight.numel()) for weight in engine.module.parameters())
    return 4 * 4 * numbers  # DeepSpeed's weights and both moments, and the export


def found(folder: Path) -> list[Path]:
    """Published checkpoints, oldest first."""
    folders = Path(folder).glob(f"{_PREFIX}*")
    return sorted(path for path in folders if not path.name.endswith(PARTIAL) and is_finished(path))


def best(folder: Path) -> list[Path]:
    """Published checkpoints that were validated, the best first."""
    validated = []
    for path in found(folder):
        try:
            loss = read_manifest(path, check=False)["validation"]
        except StoreError:  # damaged: `load_latest` says so
            continue
        if loss is not None:
            validated.append((loss, path))
    return [path for _, path in sorted(validated)]


def load_latest(folder: Path, engine: "Engine", warn: Callable[[str], None]) -> int:
    """Put the newest undamaged checkpoint into the engine and return its step; 0 where there is none.

    One of another number of workers is converted first. A damaged checkpoint is passed over with a warning that names
    the file. Raises StoreError if one was written with another ZeRO stage.
    """
    for path in reversed(found(folder)):
        try:
            manifest = read_manifest(path)
        except StoreError as error:
            warn(f"{error} (going back to the checkpoint before it)")
            continue
        if manifest["zero_stage"] != engine.zero_stage:
            raise StoreError(
                f"{path}: written with ZeRO stage {manifest['zero_stage']}, this run has {engine.zero_stage}; "
                "set engine.zero_stage back, or delete the folder to start again"
            )
        if manifest["world"] == engine.world or engine.zero_stage == 0:  # without ZeRO every rank holds everything
            engine.load(path)
        else:
            with _universal(path, engine) as converted:
                engine.load(converted, universal=True)
        return int(manifest["step"])
    return 0


@contextmanager
def _universal(path: Path, engine: "Engine") -> Iterator[Path]:
    """The checkpoint at `path` in a form for any number of ranks, while the block runs; rank 0 makes it."""
    converted = path.with_name(path.name.replace(_PREFIX, _UNIVERSAL))
    if engine.rank == 0 and not is_finished(converted):
        shutil.rmtree(converted.with_name(converted.name + PARTIAL), ignore_errors=True)
        with publishing(converted, step=path.name) as partial:
            engine.to_universal(path, partial)
    engine.barrier()
    read_manifest(converted)  # compares checksums
    yield converted
    engine.barrier()
    if engine.rank == 0:
        shutil.rmtree(converted)


def keep_best_weights(checkpoints: Path, folder: Path) -> None:
    """Put the weights of the best validated checkpoint, if there is one, into `folder` as `best.safetensors`."""
    for path in best(checkpoints)[:1]:
        read_manifest(path)
        aside = Path(folder) / (BEST + PARTIAL)
        shutil.copyfile(path / WEIGHTS, aside)
        os.replace(aside, Path(folder) / BEST)


def save_export(folder: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write the weights and the JSON that says how to build the module they belong to."""
    save_file(weights, str(Path(folder) / WEIGHTS))
    (Path(folder) / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def load_export(folder: Path) -> dict[str, Tensor]:
    """The weights of a finished stage, on the CPU; raises StoreError if the folder is unfinished or damaged."""
    read_manifest(folder)
    path = Path(folder) / WEIGHTS
    try:
        return load_file(str(path))
    except SafetensorError as error:  # such as a pickle by that name, which nothing here would read
        raise StoreError(f"{path}: no safetensors ({error}); delete the folder and run again") from None


def load_weights(module: nn.Module, folder: Path) -> None:
    """Put the weights of a finished stage into `module`; raises StoreError if they are those of another network."""
    put_weights(module, load_export(folder), Path(folder) / WEIGHTS, "delete the folder and run again")


def put_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path, way_out: str) -> None:
    """Put all weights of a module, read from `path`, into it; raises StoreError if they are another network's."""
    own = module.state_dict()
    for name in sorted({*weights, *own}):
        here, there = (tuple(side[name].shape) if name in side else "none" for side in (own, weights))
        if here != there:
            raise StoreError(
                f"{path}: '{name}' has shape {there}, this program's network {here}; it was trained by another version "
                f"or recipe, {way_out}"
            )
    module.load_state_dict(weights)


def load_export_config(folder: Path) -> dict[str, Any]:
    """What `save_export` was given as config."""
    return json.loads((Path(folder) / CONFIG).read_text())
