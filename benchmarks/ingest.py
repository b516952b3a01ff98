"""The ingest benchmark: throughput beside a bare loop, memory, a second run, kills, and how fast shards are read."""

import contextlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import ray
import torch
import yaml

from benchmarks.morphs import PAIRS, write_series
from benchmarks.physics import ROOT, shared_data
from cryofound.config import GridConfig, Recipe
from cryofound.ensemble.reader import StepBatches
from cryofound.ensemble.shards import ShardIndex
from cryofound.ensemble.store import open_store, read_density, read_provenance, shard_folder, system_folder
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.structure.writing import write_ensemble
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1
from data_pipeline.ingest import ingest
from data_pipeline.plan import make_plan
from data_pipeline.streaming import ray_stream

STATES = 200
KILLS = 20
CATALOG = 1000
GIB = 2**30
LIMITS = {"worker_peak_gib": 2.0, "second_run_seconds": 10.0, "driver_growth_mib": 50.0}
FLOORS = {"throughput_vs_bare_loop": 0.7, "reader_over_consumption": 5.0, "killed_equals_undisturbed": 1.0}


def measure(work: Path) -> dict[str, float]:
    """All figures; the maps that are made once are kept in `work`."""
    write_series(shared_data() / "families", work / "series", STATES // len(PAIRS))
    recipe = write_recipe(work / "series.recipe.yaml", work / "series")
    found = {"load_at_start": os.getloadavg()[0]}
    found |= throughput(recipe, work)
    found |= second_run(recipe, work / "home")
    found |= reading(recipe, work / "home")
    found |= driver_growth(work / "catalog")
    found |= kills(recipe, work)
    return found | {"load_at_end": os.getloadavg()[0]}


def write_recipe(path: Path, entries: Path, box_size: int = 64, voxel_size: float = 2.0) -> Path:
    """A recipe of all entries in a folder."""
    grid = {"box_size": box_size, "voxel_size": voxel_size}
    path.write_text(yaml.safe_dump({"name": path.stem, "entries": [f"{entries}/*.yaml"], "grid": grid}))
    return path


def throughput(path: Path, work: Path) -> dict[str, float]:
    """Ingest of all maps between two runs of the bare loop, each on two processes that start cold."""
    recipe, home = _recipe(path), work / "home"
    stores: list[Path] = []
    shutil.rmtree(home, ignore_errors=True)
    with started_ray():
        # The transforms come from a first ingest; it also warms the page cache for everybody.
        jobs = _bare_jobs(ingest(make_plan(recipe, home), ray_stream), recipe.grid, work)
    shutil.rmtree(home)
    before = _timed(lambda: _bare_loop(jobs))
    with started_ray(), Peaks() as peaks:
        seconds = _timed(lambda: stores.append(ingest(make_plan(recipe, home), ray_stream)))
    after = _timed(lambda: _bare_loop(jobs))
    for _, _, _, _, _, target in jobs[:: STATES // 8]:
        folder, row = Path(target).stem.rsplit("-", 1)
        bare, ours = np.load(target), read_density(system_folder(stores[0], folder), int(row))
        assert np.abs(bare - ours).max() < 1e-5 * np.abs(bare).max(), "both did the same arithmetic"
    return {
        "throughput_vs_bare_loop": 0.5 * (before + after) / seconds,
        "ingest_maps_per_second": STATES / seconds,
        "bare_loop_seconds": 0.5 * (before + after),
        "ingest_seconds": seconds,
        "worker_peak_gib": peaks.largest / GIB,
    }


def second_run(recipe: Path, home: Path) -> dict[str, float]:
    """The whole command where there is nothing to do, interpreter and all."""
    codes: list[int] = []
    seconds = _timed(lambda: codes.append(_run_job(recipe, home).wait()))
    assert codes == [0], "the second run finds the store"
    return {"second_run_seconds": seconds}


def reading(path: Path, home: Path) -> dict[str, float]:
    """Maps that one reading thread gives in a second, over the maps that one thread of stage 1 takes."""
    recipe = _recipe(path)
    store = make_plan(recipe, home).store
    systems, shards = open_store(store), ShardIndex.open(shard_folder(store))
    torch.set_num_threads(1)
    stage = Stage1(recipe, systems, shards)
    vae = stage.module()
    steps = []
    for step in range(4):
        batch = stage.batch(step, 0, 1)
        steps.append(_timed(lambda batch=batch: stage.losses(vae, batch, Noise(0, 0))["total"].backward()))
    batches = StepBatches(shards, recipe.stage1.batch_size)
    read = [_timed(lambda step=step: batches[step]) for step in range(len(shards) // batches.batch_size)]
    consumed, given = recipe.stage1.batch_size / min(steps), recipe.stage1.batch_size / float(np.median(read))
    return {
        "reader_over_consumption": given / consumed,
        "reader_maps_per_second": given,
        "stage1_maps_per_second": consumed,
    }


def driver_growth(folder: Path, entries: int = CATALOG) -> dict[str, float]:
    """Resident memory that the driver gains from the first tenth of a large catalog's states to the last."""
    write_catalog(folder / "entries", entries)
    shutil.rmtree(folder / "home", ignore_errors=True)
    process = psutil.Process()
    sizes: list[int] = []

    def watch(what: str, done: int, total: int, seconds: float) -> None:
        if what == "states" and done % (total // 20) == 0:
            sizes.append(process.memory_info().rss)

    recipe = _recipe(write_recipe(folder / "recipe.yaml", folder / "entries", 16, 8.0))
    with started_ray():
        seconds = _timed(lambda: ingest(make_plan(recipe, folder / "home"), ray_stream, report=watch))
    return {"driver_growth_mib": (sizes[-1] - sizes[1]) / 2**20, "catalog_seconds": seconds}


def write_catalog(folder: Path, entries: int) -> None:
    """Entries of one small map each, all with the same reference."""
    from tests.made_proteins import made_protein

    folder.mkdir(parents=True, exist_ok=True)
    model = made_protein(60)
    model = model.moved(model.positions_xyz - model.positions_xyz.mean(0))
    write_ensemble(folder / "reference.cif", model, model.positions_xyz[None])
    grid = Grid.centred(32, 5.0)
    for row in range(entries):
        values = np.random.default_rng(row).standard_normal(grid.shape_zyx, dtype=np.float32)
        write_map(folder / f"m{row:04d}.mrc", DensityMap(values, grid))
        entry = {
            "system_id": f"m{row:04d}", "family": f"f{row:04d}", "split": "train",
            "sources": {"here": {"kind": "local", "folder": "."}},
            "reference": {"source": "here", "file": "reference.cif"},
            "states": [
                {"state_id": "a", "kind": "map", "source": "here", "file": f"m{row:04d}.mrc", "resolution": 9.0}
            ],
        }  # fmt: skip
        (folder / f"m{row:04d}.yaml").write_text(yaml.safe_dump(entry))


def kills(path: Path, work: Path, times: int = KILLS) -> dict[str, float]:
    """Whether an ingest killed at random moments, then finished, is the undisturbed store bit for bit."""
    store = make_plan(_recipe(path), work / "home").store
    home, chance = work / "killed", random.Random(0)
    shutil.rmtree(home, ignore_errors=True)
    survived = 0
    for _ in range(times):
        job = _run_job(path, home)
        try:
            # From the first task on: Ray takes some seconds before it.
            survived += job.wait(chance.uniform(6, 20)) == 0
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    assert _run_job(path, home).wait() == 0
    return {
        "killed_equals_undisturbed": float(_content(home / store.name) == _content(store)),
        "kills": float(times - survived),
    }


@contextlib.contextmanager
def started_ray() -> Iterator[None]:
    """Ray on two processors of this machine, without processes of an earlier one."""
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(
        num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, runtime_env={"env_vars": environment},
        object_store_memory=200 * 2**20,
    )  # fmt: skip
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


class Peaks:
    """The largest resident memory that any Ray worker of this process ever had, libraries included."""

    def __init__(self) -> None:
        self.largest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Peaks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError, StopIteration):
                    if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::"):
                        self.largest = max(self.largest, _high_water(process.pid))


def _high_water(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def _run_job(recipe: Path, home: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, str(ROOT / "jobs/ingest.py"), "--recipe", str(recipe), "--home", str(home)]
    return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)


Job = tuple[str, list[list[float]], list[float], int, float, str]


def _bare_jobs(store: Path, grid: GridConfig, work: Path) -> list[Job]:
    out = work / "bare"
    out.mkdir(exist_ok=True)
    jobs: list[Job] = []
    for name in open_store(store):
        told = read_provenance(system_folder(store, name))
        source = told["entry"]["sources"]["here"]["folder"]
        jobs += [
            (
                f"{source}/{state['file']}",
                told["placement"]["rotation"],
                told["placement"]["shift"],
                grid.box_sizes[-1],
                grid.voxel_size,
                str(out / f"{name}-{row:03d}.npy"),
            )
            for row, state in enumerate(told["entry"]["states"])
        ]
    (work / "jobs.json").write_text(json.dumps(jobs))
    return jobs


def _bare_loop(jobs: list[Job]) -> None:
    out = Path(jobs[0][-1]).parent
    command = [sys.executable, str(ROOT / "benchmarks/bare_loop.py"), str(out.parent / "jobs.json")]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)


def _recipe(path: Path) -> Recipe:
    return Recipe.model_validate(yaml.safe_load(path.read_text()))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
