"""The commands about stores: lines that a user reads, and an exit code that a script reads."""

from pathlib import Path

import pytest

from cryofound.cli import main
from tests.unit.ensemble.test_store import damage, made_store


def test_stores_are_listed_checked_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_store(tmp_path / "store-1")
    (tmp_path / "store-2.partial/systems").mkdir(parents=True)
    home = ["--home", str(tmp_path)]
    assert main(["store", "list", *home]) == 0
    printed = capsys.readouterr().out
    assert [line.split("│")[1:4] for line in printed.splitlines() if "store-" in line] == [
        [" store-1         ", " finished   ", " 2       "], [" store-2.partial ", " unfinished ", " 0       "]
    ]  # fmt: skip
    assert f"home={tmp_path} stores=2" in printed
    assert main(["store", "check", *home]) == 0
    assert "store-1: every checksum is right" in capsys.readouterr().out
    damage(tmp_path / "store-1/systems/a/truth_xyz/c/0/0/0")
    assert main(["store", "check", *home]) == 1
    printed = capsys.readouterr()
    assert "store-1/systems/a: " in printed.out
    assert printed.err == f"error: {tmp_path}: damaged in 1 place; run `cryofound store check --repair`\n"
    assert main(["store", "check", "--repair", *home]) == 0
    assert "removed; run the recipe again to have it made anew" in capsys.readouterr().out
    assert main(["store", "list", *home]) == 0
    assert "store-1.partial" in capsys.readouterr().out
