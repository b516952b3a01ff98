"""What may happen to a run, done to it: it ends in the weights of an undisturbed one, or says in one line why not.

A killed worker is in test_training.py, a killed task of a pool in test_pool.py, NaN in test_loop.py.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import ray

from cryofound.config import EngineConfig
from cryofound.errors import StoreError
from cryofound.training.checkpoints import WEIGHTS, found
from cryofound.training.curve import read_curve
from jobs import training
from jobs.local_cluster import LocalCluster, submit
from tests.jobs.toy_stage import ToyStage

pytestmark = pytest.mark.slow

ENGINE = EngineConfig(threads=1, max_failures=1)


@pytest.fixture(scope="session")
def undisturbed(ray_head: None, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of the toy stage, trained in one process without Ray Train."""
    folder = tmp_path_factory.mktemp("undisturbed")
    task = ray.remote(max_calls=1)(training.train_here)
    ray.get(task.remote(ToyStage, folder, ENGINE, 0, {}))
    return (folder / WEIGHTS).read_bytes()


def checkpoint(folder: Path, step: int) -> Path:
    """The file that makes the checkpoint of a step exist."""
    return folder / training.CHECKPOINTS / f"step-{step:08d}" / "manifest.json"


def wait_for(path: Path) -> None:
    """Wait until a file exists; in a daemon thread, which ends with the test that started it at the latest."""
    while not path.exists():
        time.sleep(0.002)


def test_lost_node(repository: Path, tmp_path: Path, undisturbed: bytes) -> None:
    """Training goes on on the node that is left."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.jobs.lost_node", str(tmp_path)],
        cwd=repository,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "lost after step 20" in ended.stdout.splitlines()
    assert [row["step"] for row in read_curve(tmp_path)] == list(range(5, 61, 5))
    assert (tmp_path / WEIGHTS).read_bytes() == undisturbed


def test_killed_driver_and_the_job_submitted_again(repository: Path, tmp_path: Path, undisturbed: bytes) -> None:
    """The second submission goes on from the checkpoint that the first one left."""
    command = ["python", "-m", "tests.jobs.toy_job", str(tmp_path)]

    def kill_the_driver() -> None:
        wait_for(checkpoint(tmp_path, 20))
        for process in psutil.Process().children(recursive=True):
            # the command that submits it ends in the same words
            if len(process.cmdline()) == len(command) and process.cmdline()[1:] == command[1:]:
                process.kill()

    (tmp_path / "empty").mkdir()
    found = {"PYTHONPATH": str(repository)}  # tests are no part of what a job is given
    with LocalCluster(cpus=2) as cluster:
        killer = threading.Thread(target=kill_the_driver, daemon=True)
        killer.start()
        assert submit(cluster, command, working_dir=tmp_path / "empty", env_vars=found) != 0
        killer.join()
        assert not (tmp_path / WEIGHTS).exists()
        left = [row for row in read_curve(tmp_path) if row["step"] <= 20]
        assert submit(cluster, command, working_dir=tmp_path / "empty", env_vars=found) == 0
    curve = read_curve(tmp_path)
    assert [row["step"] for row in curve] == list(range(5, 61, 5))
    assert curve[: len(left)] == left  # with the times of the first try: these steps were not taken again
    assert (tmp_path / WEIGHTS).read_bytes() == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"may not mount a file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.usefixtures("ray_head")
def test_full_disk(small_disk: Path, undisturbed: bytes) -> None:
    """One line, the last checkpoints kept; once there is room the run goes on from them."""
    filler, folder = small_disk / "filler", small_disk / "run"
    folder.mkdir()

    def fill() -> None:
        wait_for(checkpoint(folder, 20))
        with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(4096))

    threading.Thread(target=fill, daemon=True).start()
    fit = partial(training.fit, partial(ToyStage, seconds_per_step=0.05), folder, "toy", ENGINE, 0, {})
    told = r"no room for (its files|the checkpoint of step \d0 .*): No space left"
    with pytest.raises(StoreError, match=told):
        fit()
    kept = found(folder / training.CHECKPOINTS)
    assert len(kept) == 2
    assert kept[-1].name in ("step-00000020", "step-00000030", "step-00000040")
    filler.unlink()
    fit()
    assert (folder / WEIGHTS).read_bytes() == undisturbed
