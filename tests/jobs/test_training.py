"""Training under Ray Train: a worker that is killed changes nothing but the time it takes."""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from cryofound.config import EngineConfig, Recipe, load_recipe
from cryofound.ensemble.store import open_store
from cryofound.training.checkpoints import WEIGHTS
from cryofound.training.curve import CLOCK, read_curve
from cryofound.training.scope import groups
from data_pipeline.ingest import ingest
from data_pipeline.plan import make_plan
from data_pipeline.streaming import ray_stream
from jobs import training
from jobs.progress import following
from tests.jobs.toy_stage import ToyStage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_head")]


def fit_stage1(recipe: Recipe, store: Path, folder: Path) -> list[dict[str, float]]:
    """Train stage 1 in `folder`; its curve without what depends on the clock, as a follower saw it grow."""
    folder.mkdir()
    rows: list[dict[str, float]] = []
    with following(folder, "stage1", recipe.stage1.steps, rows.extend):
        make_stage = partial(training.make_stage1, recipe, store, *groups("all", open_store(store)))
        training.fit(make_stage, folder, "stage1", recipe.engine, recipe.seed, {})
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


class Killer(threading.Thread):
    """Kills the training worker with SIGKILL as soon as `checkpoint` is there; `killed` holds its process id."""

    def __init__(self, checkpoint: Path):
        super().__init__(daemon=True)
        self.checkpoint, self.killed = checkpoint, 0

    def run(self) -> None:
        while not self.checkpoint.exists():
            time.sleep(0.002)
        for process in psutil.Process().children(recursive=True):
            if process.cmdline()[0].startswith("ray::RayTrainWorker"):
                process.kill()
                self.killed = process.pid


def test_killed_worker_of_stage_1_ends_in_the_same_loss_and_weights(
    tiny_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    stage1 = {"steps": 120, "batch_size": 2, "warmup_steps": 5, "log_every": 5, "checkpoint_every": 20}
    recipe = load_recipe(tiny_recipe(recipe={"stage1": stage1}))
    store = ingest(make_plan(recipe, tmp_path / "home"), ray_stream)

    expected = fit_stage1(recipe, store, tmp_path / "undisturbed")
    disturbed = tmp_path / "disturbed"
    killer = Killer(disturbed / "checkpoints" / "step-00000040" / "manifest.json")
    killer.start()
    curve = fit_stage1(recipe, store, disturbed)

    assert killer.killed
    assert not psutil.pid_exists(killer.killed)
    assert [row["step"] for row in expected] == list(range(5, 121, 5))
    assert expected[-1]["total"] < expected[0]["total"]
    assert curve == expected
    assert [row["total"] for row in read_curve(disturbed)] == [row["total"] for row in expected]
    assert (disturbed / WEIGHTS).read_bytes() == (tmp_path / "undisturbed" / WEIGHTS).read_bytes()


def test_two_workers_share_every_batch(tmp_path: Path) -> None:
    engine = EngineConfig(workers=2, cpus_per_worker=0.5, threads=1, zero_stage=1)
    training.fit(ToyStage, tmp_path, "toy", engine, 0, {"stage": "toy"})
    curve = read_curve(tmp_path)
    assert curve[-1]["misfit"] < 0.2 * curve[0]["misfit"]
    assert (tmp_path / WEIGHTS).is_file()
