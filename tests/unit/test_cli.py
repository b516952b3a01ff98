"""The `cryofound` command: what it prints and its exit codes."""

import os
import signal
import threading
from pathlib import Path

import pytest

from cryofound.cli import main


def test_a_good_recipe_is_summed_up(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    assert main(["recipe", "check", "configs/pretrain/demo.yaml"]) == 0
    assert "recipe=demo" in capsys.readouterr().out


def test_a_wrong_recipe_is_one_line_on_stderr_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: x\nentries: []\ncolour: red\n")
    assert main(["recipe", "check", str(path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"error: {path}: unknown key 'colour' (known here: name, ")


def test_entries_that_match_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text(f"name: x\nentries: ['{tmp_path}/none/*.yaml']\n")
    assert main(["recipe", "check", str(path)]) == 1
    assert "no catalog entry matches" in capsys.readouterr().err


def test_home_without_models_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--home", str(tmp_path)]) == 0
    assert "make pretrain" in capsys.readouterr().out


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_one_line_and_exit_code_130(
    which: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "endless.yaml")  # whoever reads it waits
    handler = signal.signal(which, signal.default_int_handler)  # as in a terminal; test runners may ignore interrupts
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), which))
    interrupt.start()
    try:
        assert main(["recipe", "check", str(tmp_path / "endless.yaml")]) == 130
    finally:
        signal.signal(which, handler)
    interrupt.join()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: interrupted")
    assert printed.err.count("\n") == 1


def test_unknown_command_exits_with_2() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bake"])
