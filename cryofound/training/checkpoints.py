"""Checkpoints: numbered folders, each written aside, checksummed and renamed, so that one is whole or not there.

A finished stage exports `model.safetensors` (fp32) and `config.json`; only exports leave the training code.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cryofound.errors import StoreError
from cryofound.manifest import PARTIAL, is_finished, read_manifest, write_manifest

if TYPE_CHECKING:  # reading an export must not load DeepSpeed
    from cryofound.training.engine import Engine

KEEP = 2
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_PREFIX = "step-"


def save(folder: Path, step: int, engine: "Engine", *, keep: int = KEEP, **facts: Any) -> Path:
    """Write the engine's state after `step` steps to `folder/step-<step>`; every rank calls it, rank 0 publishes.

    The `keep` newest checkpoints stay. The folder must be one that all ranks share.
    """
    final = Path(folder) / f"{_PREFIX}{step:08d}"
    partial = final.with_name(final.name + PARTIAL)
    if engine.rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    engine.barrier()
    engine.save(partial)
    engine.barrier()
    if engine.rank == 0:
        write_manifest(partial, step=step, world=engine.world, **facts)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        for old in found(folder)[:-keep]:
            shutil.rmtree(old)
    engine.barrier()
    return final


def found(folder: Path) -> list[Path]:
    """Published checkpoints, oldest first."""
    folders = Path(folder).glob(f"{_PREFIX}*")
    return sorted(path for path in folders if not path.name.endswith(PARTIAL) and is_finished(path))


def load_latest(folder: Path, engine: "Engine", warn: Callable[[str], None]) -> int:
    """Put the newest undamaged checkpoint into the engine and return its step; 0 where there is none.

    A damaged checkpoint is passed over with a warning that names the file. Raises StoreError if one was written by
    another number of workers.
    """
    for path in reversed(found(folder)):
        try:
            manifest = read_manifest(path)
        except StoreError as error:
            warn(f"{error} (going back to the checkpoint before it)")
            continue
        if manifest["world"] != engine.world:
            raise StoreError(
                f"{path}: written by {manifest['world']} workers, this run has {engine.world}; "
                "set engine.workers back, or delete the folder to start again"
            )
        engine.load(path)
        return int(manifest["step"])
    return 0


def save_export(folder: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write the weights and the JSON that says how to build the module they belong to."""
    save_file(weights, str(Path(folder) / WEIGHTS))
    (Path(folder) / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def load_export(folder: Path) -> dict[str, Tensor]:
    """The weights of a finished stage, on the CPU; raises StoreError if the folder is unfinished or damaged."""
    read_manifest(folder)
    return load_file(str(Path(folder) / WEIGHTS))


def load_weights(module: nn.Module, folder: Path) -> None:
    """Put the weights of a finished stage into `module`; raises StoreError if they are those of another network."""
    weights, own = load_export(folder), module.state_dict()
    for name in sorted({*weights, *own}):
        here, there = (tuple(side[name].shape) if name in side else "none" for side in (own, weights))
        if here != there:
            raise StoreError(
                f"{Path(folder) / WEIGHTS}: '{name}' has shape {there}, this program's network {here}; it was trained "
                "by another version or recipe, delete the folder and run again"
            )
    module.load_state_dict(weights)


def load_export_config(folder: Path) -> dict[str, Any]:
    """What `save_export` was given as config."""
    return json.loads((Path(folder) / CONFIG).read_text())
