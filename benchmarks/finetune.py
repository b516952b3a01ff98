"""Fine-tuning against training anew: how many steps stage 1 needs to explain a new system's maps equally well.

    python -m benchmarks.finetune --checkpoint FOLDER --entry configs/catalog/families/gpcr_class_a/a1r.yaml
        [--entry ...] [--among 'configs/catalog/families/gpcr_class_a/*.yaml'] [--steps 400] [--batch-size 4]

FOLDER is a finished stage 1 (or run, or registered model) that never saw the systems of the entries. Each is trained on
all its maps with the settings of the checkpoint's own recipe, but always told whom it decodes: from scratch, and from
the checkpoint (`start.train: all`). Both have a schedule as long as training from scratch. Counted are the steps until
the mean NCC of the maps at their own resolution, with the posterior means as codes, first is what training from scratch
has at its end.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cryofound.catalog.entry import CatalogEntry, anchor_of, load_entries, load_entry
from cryofound.config import EngineConfig, Recipe, StartConfig, validated
from cryofound.ensemble.shards import ShardIndex, shard_key, write_shard
from cryofound.ensemble.system import System
from cryofound.errors import CryoFoundError, TrainingError
from cryofound.home import default_home
from cryofound.maps.density_map import Grid
from cryofound.training.checkpoints import load_export_config
from cryofound.training.engine import Engine
from cryofound.training.finetuning import FineTunedStage1, find_pretrained
from cryofound.training.loop import Progress, train
from cryofound.training.stage1 import Stage1
from data_pipeline.boxes import smallest_grid
from data_pipeline.plan import CACHE
from data_pipeline.stages import build_system, place

ROOT = Path(__file__).resolve().parents[1]
STEPS, BATCH_SIZE, EVERY, WARM_UP = 400, 4, 5, 10


@dataclass(frozen=True)
class FineTuning:
    """Of one system: the NCC that training from scratch ends with, and the steps that each way takes to it."""

    system_id: str
    ncc: float
    scratch_steps: int
    finetune_steps: int

    @property
    def ratio(self) -> float:
        """Steps of fine-tuning for one from scratch."""
        return self.finetune_steps / self.scratch_steps


class _Reached(Exception):
    """Training may end: the maps are explained well enough."""


def finetune_step_ratio(
    checkpoint: Path,
    entries: Sequence[CatalogEntry],
    among: Sequence[CatalogEntry],
    *,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    cache: Path | None = None,
) -> dict[str, float]:
    """Metrics of some left-out systems: `finetune_step_ratio` is the mean of theirs, each `<system>_...` beside it.

    `among` are the entries that say which is the anchor of each family, as the checkpoint's training had them. Raises
    CryoFoundErrors of the entries and of the checkpoint.
    """
    found = [fine_tuning(checkpoint, entry, among, steps, batch_size, cache) for entry in entries]
    metrics = {"finetune_step_ratio": float(np.mean([each.ratio for each in found]))}
    for each in found:
        numbers = {name: float(value) for name, value in asdict(each).items() if name != "system_id"}
        metrics |= {f"{each.system_id}_{name}": value for name, value in (numbers | {"ratio": each.ratio}).items()}
    return metrics


def fine_tuning(
    checkpoint: Path,
    entry: CatalogEntry,
    among: Sequence[CatalogEntry],
    steps: int,
    batch_size: int,
    cache: Path | None = None,
) -> FineTuning:
    """Both ways for one system; raises TrainingError if the checkpoint was trained on it.

    Where fine-tuning does not get there within `steps`, all of them are counted, and said.
    """
    stage1 = find_pretrained(checkpoint).stage1
    config = load_export_config(stage1)
    if entry.system_id in config["training_ids"]:
        raise TrainingError(f"{stage1}: was trained on {entry.system_id}; give a system that it left out")
    recipe = _recipe(validated(config["recipe"], Recipe, f"{stage1}: its recipe"), steps, batch_size)
    started = recipe.model_copy(update={"start": StartConfig(model=str(checkpoint), train="all")})
    system, maps = _system(entry, among, recipe, cache or default_home() / CACHE)
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "train-000000.tar", _samples(system, maps))
        data = {system.system_id: system}, ShardIndex.open(Path(folder))
        scratch = _curve(Stage1(recipe, *data), None)
        target = scratch[-1][1]
        tuned = _curve(FineTunedStage1(started, *data, stage1), target)
    if tuned[-1][1] < target:
        print(f"{entry.system_id}: from {stage1} not reached in {steps} steps, which are counted", flush=True)
    first = next(step for step, ncc in scratch if ncc >= target)
    print(f"{entry.system_id} scratch={_told(scratch)} finetune={_told(tuned)}", flush=True)
    return FineTuning(entry.system_id, target, first, tuned[-1][0])


def _recipe(recipe: Recipe, steps: int, batch_size: int) -> Recipe:
    """The checkpoint's recipe for one new system, looked at every EVERY steps."""
    update: dict[str, Any] = {
        "steps": steps, "batch_size": batch_size, "validate_every": EVERY, "checkpoint_every": 0,
        "identity_dropout": 0.0, "warmup_steps": WARM_UP,
    }  # fmt: skip
    stage1 = recipe.stage1.model_copy(update=update | {"log_every": EVERY})
    return recipe.model_copy(update={"stage1": stage1, "engine": EngineConfig(threads=recipe.engine.threads)})


def _system(
    entry: CatalogEntry, among: Sequence[CatalogEntry], recipe: Recipe, cache: Path
) -> tuple[System, np.ndarray]:
    """A training system of all states of an entry, in the smallest of the recipe's boxes, and its maps."""
    anchor = anchor_of(entry.family, [each for each in among if each.system_id != entry.system_id])
    grids = [Grid.centred(box_size, recipe.grid.voxel_size) for box_size in recipe.grid.box_sizes]
    grid = smallest_grid(entry, place(entry, anchor, grids[-1], cache), grids, cache)
    system, maps = build_system(entry, anchor, grid, cache)
    states = tuple(replace(state, split="train") for state in system.states)
    return replace(system, split="train", states=states), maps


def _samples(system: System, maps: np.ndarray) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    for row, (state, density) in enumerate(zip(system.states, maps, strict=True)):
        meta = {
            "system_id": system.system_id, "state_id": state.state_id, "state_index": row,
            "population": state.population, "resolution": state.resolution,
        }  # fmt: skip
        yield shard_key(system.system_id, state.state_id), density, meta


def _curve(stage: Stage1, until: float | None) -> list[tuple[int, float]]:
    """(step, NCC of all maps) every EVERY steps of a training, which ends where the NCC is `until`."""
    torch.set_num_threads(stage.recipe.engine.threads)
    engine = Engine(
        stage.module(), stage.recipe.engine, weight_decay=stage.weight_decay, gradient_clip=stage.gradient_clip
    )
    curve: list[tuple[int, float]] = []

    def on_log(progress: Progress) -> None:
        curve.append((progress.step, progress.validation["ncc"]))
        if until is not None and curve[-1][1] >= until:
            raise _Reached

    with suppress(_Reached):
        train(engine, stage, start_step=0, seed=stage.recipe.seed, on_log=on_log, on_checkpoint=lambda *_: None)
    return curve


def _told(curve: Sequence[tuple[int, float]]) -> str:
    shown = sorted({*range(0, len(curve), max(1, len(curve) // 6)), len(curve) - 1})
    return ",".join(f"{curve[row][0]}:{curve[row][1]:.4f}" for row in shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the metrics as one line of JSON; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finetune", description="Measure fine-tuning.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a finished stage 1, run or registered model")
    parser.add_argument("--entry", action="append", required=True, help="YAML of a left-out system; may be repeated")
    parser.add_argument("--among", action="append", help="entries with the anchors (default: beside each entry)")
    parser.add_argument("--steps", type=int, default=STEPS, help="from scratch (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="maps (default: %(default)s)")
    given = parser.parse_args(arguments)
    beside = sorted({str(Path(entry).parent / "*.yaml") for entry in given.entry})
    try:
        wanted = load_entries(given.among or beside)
        names = {load_entry(Path(path)).system_id for path in given.entry}
        chosen = [entry for entry in wanted if entry.system_id in names]
        metrics = finetune_step_ratio(given.checkpoint, chosen, wanted, steps=given.steps, batch_size=given.batch_size)
    except CryoFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main())
