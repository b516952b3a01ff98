"""How much faster two CPU workers of one thread each train stage 1 than one does, with molecules of the demo's size.

Every worker is a process of its own that runs the real loop and engine over gloo, as Ray Train's workers do. Turns of
one and of two workers alternate, and the middle ratio counts: the machine may be doing other things.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed

from benchmarks.physics import shared_data
from benchmarks.stage1_cost import Case, stage1_of
from cryofound.config import load_recipe
from cryofound.training.engine import Engine
from cryofound.training.loop import Progress, train
from cryofound.training.stage1 import Stage1

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs/pretrain/demo.yaml"
CASE = Case(atoms=2000, maps=8, box_size=48, voxel_size=2.0, resolution=6.0)  # its periplasmic proteins
BATCH_SIZE = 16  # with 8 an exchange of gradients and a step of Adam weigh more: RESULTS.md
WARM_UP, STEPS, ROUNDS = 3, 12, 3


def two_worker_speedup(data: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """Maps a second of two workers over those of one, and both, each the median over `rounds`."""
    found = [{workers: maps_per_second(data, workers) for workers in (1, 2)} for _ in range(rounds)]
    return {
        "two_worker_speedup": float(np.median([each[2] / each[1] for each in found])),
        "one_worker_maps_per_second": float(np.median([each[1] for each in found])),
        "two_workers_maps_per_second": float(np.median([each[2] for each in found])),
    }


def maps_per_second(data: Path, workers: int) -> float:
    """What `workers` processes of one thread do together after their first steps."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.two_workers", "--data", data, "--meet", f"{folder}/meet"]
        started = [
            subprocess.Popen(
                [*map(str, command), "--rank", str(rank), "--world", str(workers)],
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "LOCAL_RANK": str(rank)},
                cwd=ROOT,
                text=True,
            )
            for rank in range(workers)
        ]
        outputs = [process.communicate()[0] for process in started]
        for process in started:
            if process.returncode:
                raise subprocess.CalledProcessError(process.returncode, process.args)
    return float(json.loads(outputs[0].splitlines()[-1]))


def measure(data: Path, folder: Path) -> float:
    """Maps per second of the group that this process is in; every rank calls it."""
    torch.set_num_threads(1)
    made = stage1_of(CASE, data, folder)
    recipe = load_recipe(RECIPE)
    recipe = recipe.model_copy(update={"stage1": recipe.stage1.model_copy(update={"batch_size": BATCH_SIZE})})
    stage = Stage1(recipe, {system.system_id: system for system in made.systems}, made.shards)
    stage.steps, stage.log_every, stage.validate_every, stage.checkpoint_every = WARM_UP + STEPS, WARM_UP, 0, 10**9
    engine = Engine(
        stage.module(),
        stage.recipe.engine,
        weight_decay=stage.weight_decay,
        gradient_clip=stage.gradient_clip,
    )
    rows: list[Progress] = []
    train(engine, stage, start_step=0, seed=0, on_log=rows.append, on_checkpoint=lambda *_: None)
    return float(np.median([row.samples_per_second for row in rows[1:]]))


def main() -> None:
    """One rank of a measurement; the last line that it prints is its result. Without a rank, the whole benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_workers", description="Measure two workers.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--world", type=int)
    parser.add_argument("--meet", type=Path)
    given = parser.parse_args()
    if given.rank is None:
        print(json.dumps(two_worker_speedup(given.data or shared_data())))
        return
    torch.distributed.init_process_group(
        "gloo", init_method=given.meet.as_uri(), rank=given.rank, world_size=given.world
    )
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(given.data, Path(folder))))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
