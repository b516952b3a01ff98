"""One stage of training under Ray Train: workers, restarts after a death, progress, the exported weights."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import WorkerGroupError
from ray.train.torch import TorchTrainer

from cryofound import errors
from cryofound.config import EngineConfig, Recipe
from cryofound.disk import room_for
from cryofound.ensemble.shards import ShardIndex
from cryofound.ensemble.store import read_system, shard_folder, system_folder
from cryofound.ensemble.system import System
from cryofound.errors import CryoFoundError
from cryofound.training import checkpoints
from cryofound.training.curve import append_row, cut_curve
from cryofound.training.engine import Engine
from cryofound.training.finetuning import FineTunedStage1, FineTunedStage2, find_pretrained
from cryofound.training.guides import Guides
from cryofound.training.loop import Progress, Stage, train
from cryofound.training.scope import Group
from cryofound.training.stage1 import Stage1, load_stage1, training_ids
from cryofound.training.stage2 import Stage2
from jobs.steps import refusal_in

CHECKPOINTS = "checkpoints"
_REFUSAL = "error.json"
_RAY = "ray"

# Read by Ray Train in the driver and passed on to its actors: a death is seen within half a second, and little is said.
_RAY_TRAIN = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


def fit(
    make_stage: Callable[[], Stage],
    folder: Path,
    name: str,
    engine: EngineConfig,
    seed: int,
    export_config: dict[str, Any],
) -> None:
    """Train a stage to its end in `folder`, a folder that all workers share, going on from what an earlier try left.

    Leaves model.safetensors, config.json, curve.jsonl (one JSON row per logged step) and, where there was validation,
    best.safetensors. A worker that dies is started again from the last checkpoint, up to `engine.max_failures` times.
    Raises the CryoFoundError of a worker as it is.
    """
    folder = Path(folder).resolve()
    (folder / _REFUSAL).unlink(missing_ok=True)
    os.environ.update({key: os.environ.get(key, value) for key, value in _RAY_TRAIN.items()})
    resources = {"CPU": engine.cpus_per_worker}
    if engine.gpus_per_worker:
        resources["GPU"] = engine.gpus_per_worker
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "make_stage": make_stage,
            "folder": folder,
            "engine": engine,
            "seed": seed,
            "export_config": export_config,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=engine.workers, use_gpu=engine.gpus_per_worker > 0, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(folder / _RAY),
            failure_config=ray.train.FailureConfig(max_failures=engine.max_failures),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        told = filter(None, map(refusal_in, error.worker_failures.values()))
        raise next(told, error) from None
    refusal = folder / _REFUSAL
    if refusal.is_file():
        told = json.loads(refusal.read_text())
        raise getattr(errors, told["type"])(told["text"])
    shutil.rmtree(folder / CHECKPOINTS)  # pickles of DeepSpeed's, and of no use to a stage that is finished
    shutil.rmtree(folder / _RAY)


def make_stage1(
    recipe: Recipe, store: Path, group: Group, *, start: Path | None = None, guides: Path | None = None
) -> Stage:
    """Stage 1 over the systems of a group, from the pretrained model in the folder `start` if there is one.

    guides: the folder of the models that were placed into its maps (jobs/guides.py), if any were.
    """
    systems, shards = _of_group(store, group)
    placed = Guides.open(guides, [systems[name] for name in training_ids(systems)]) if guides else None
    if start:
        return FineTunedStage1(recipe, systems, shards, find_pretrained(start).stage1, placed)
    return Stage1(recipe, systems, shards, placed)


def make_stage2(recipe: Recipe, store: Path, stage1: Path, group: Group, *, start: Path | None = None) -> Stage:
    """Stage 2 over the systems of a group, with the VAE of a finished stage 1, from the flow in `start` if any."""
    systems, shards = _of_group(store, group)
    vae = load_stage1(group.folder(stage1), recipe, systems)
    pretrained = find_pretrained(start).stage2 if start else None
    if pretrained:
        return FineTunedStage2(recipe, systems, shards, vae, pretrained)
    return Stage2(recipe, systems, shards, vae)


def export_config(recipe: Recipe, group: Group) -> dict[str, Any]:
    """What is written beside the weights of a group: the recipe, and the systems in the order of their residuals."""
    return {"recipe": recipe.model_dump(mode="json"), "training_ids": list(group.training_ids)}


def _of_group(store: Path, group: Group) -> tuple[dict[str, System], ShardIndex]:
    systems = {name: read_system(system_folder(store, name)) for name in group.training_ids}
    return systems, ShardIndex.open(shard_folder(store)).of_systems(group.training_ids)


def _worker(config: dict[str, Any]) -> None:
    """What every worker runs; a CryoFoundError is left for the driver, since a retry would only meet it again."""
    note = config["folder"] / _REFUSAL
    if note.is_file():
        return
    context = ray.train.get_context()
    try:
        with room_for("its files", config["folder"]):
            train_here(**config)
    except CryoFoundError as error:
        aside = note.with_suffix(f".{context.get_world_rank()}")
        try:
            aside.write_text(json.dumps({"type": type(error).__name__, "text": str(error)}))
            os.replace(aside, note)
        except OSError:  # no room for the note either: Ray tries again, in vain, and then hands on the error itself
            raise error from None
        if context.get_world_size() > 1:
            raise  # the other ranks may be waiting for this one; Ray ends them


def train_here(
    make_stage: Callable[[], Stage], folder: Path, engine: EngineConfig, seed: int, export_config: dict[str, Any]
) -> None:
    """Train a stage to its end in this process, as one rank of its process group or alone, from the last checkpoint.

    Leaves in `folder` what `fit` does, and the checkpoints. It sets torch's threads and determinism for good.
    """
    torch.set_num_threads(engine.threads)
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        # filling new memory costs time and changes nothing that is read; the module's class makes the name at run time
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    stage = make_stage()
    wrapped = Engine(stage.module(), engine, weight_decay=stage.weight_decay, gradient_clip=stage.gradient_clip)
    first = wrapped.rank == 0
    (folder / CHECKPOINTS).mkdir(exist_ok=True)  # a stage without steps saves none
    start_step = checkpoints.load_latest(folder / CHECKPOINTS, wrapped, warn=partial(print, "warning:", flush=True))
    if first:
        cut_curve(folder, start_step)

    def on_log(progress: Progress) -> None:
        if first:
            append_row(folder, progress)

    def on_checkpoint(step: int, validation: float | None) -> None:
        checkpoints.save(
            folder / CHECKPOINTS,
            step,
            wrapped,
            export=stage.export,
            config=export_config,
            validation=validation,
            keep_last=engine.keep_last,
            keep_best=engine.keep_best,
        )

    train(
        wrapped,
        stage,
        start_step=start_step,
        seed=seed,
        on_log=on_log,
        on_checkpoint=on_checkpoint,
        skip_steps=engine.skip_steps,
    )
    with wrapped.whole() as module:
        if first:
            weights = stage.export(module)
            with room_for("the weights", folder, sum(weight.nbytes for weight in weights.values())):
                checkpoints.save_export(folder, weights, export_config)
            checkpoints.keep_best_weights(folder / CHECKPOINTS, folder)
