"""jobs/local.py as a user starts it: the log, the exit code, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow


def start(repository: Path, recipe: Path, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(repository / "jobs/local.py"), "--recipe", str(recipe), "--home", str(home)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def heads(home: Path) -> list[psutil.Process]:
    """Processes whose environment names this test's home, among them all that a Ray head started."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join(process.cmdline()) or process.environ().get("CRYOFOUND_TEST_HOME") == str(home):
                found.append(process)
        except psutil.Error:  # it ended meanwhile
            continue
    return found


def wait_until_gone(home: Path, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while heads(home):
        assert time.monotonic() < end, heads(home)
        time.sleep(0.2)


def test_refused_recipe_gives_exit_code_1_and_one_line(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYOFOUND_TEST_HOME", str(tmp_path))
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text("name: x\nentries: []\ncolour: red\n")
    process = start(repository, recipe, tmp_path / "home")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = [line for line in printed.splitlines() if "unknown key" in line]
    assert line.startswith(f"error: {recipe}: unknown key 'colour'")
    assert "Traceback" not in printed
    wait_until_gone(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_stopping_the_command_stops_everything_it_started(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("CRYOFOUND_TEST_HOME", str(tmp_path))
    process = start(repository, Path("configs/pretrain/demo.yaml"), tmp_path / "home")
    end = time.monotonic() + 60
    while not any("raylet" in " ".join(each.cmdline()[:1]) for each in heads(tmp_path)):
        assert time.monotonic() < end
        time.sleep(0.2)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode in (128 + number, -number)
    wait_until_gone(tmp_path)
