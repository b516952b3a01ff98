"""The ingest job: one line for each refused system, the rest finished, an exit code that a script reads."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cryofound.manifest import is_finished
from jobs.ingest import main

# Ray Data's own settings object touches its own deprecated names.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")


@pytest.mark.usefixtures("ray_head")
def test_one_system_is_refused_and_the_other_finished(
    tiny_recipe: Callable[..., Path], tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    wrong = {"reference": {"source": "here", "file": "two-reference.pdb", "chain": "Q"}}
    arguments = ["--recipe", str(tiny_recipe(entry=wrong)), "--home", str(home)]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    told = "two: " + str(tmp_path / "two-reference.pdb") + ": no chain Q; it has A"
    assert printed.err == f"error: {told}\n"
    assert f"step=store system=two refused: {told}" in printed.out.splitlines()
    assert "ingest states [########################] 100%  2/2" in printed.out
    (partial,) = home.glob("store-*.partial")
    assert is_finished(partial / "systems/one")

    tiny_recipe()
    assert main(arguments) == 0
    store = Path(capsys.readouterr().out.splitlines()[-1])
    assert is_finished(store)
    assert store.parent == home
    # A finished store is found without starting Ray, or as much as importing it.
    script = f"import sys; from jobs.ingest import main; assert main({arguments}) == 0; assert 'ray' not in sys.modules"
    again = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert again.stdout.splitlines() == [
        f"step=store digest={store.name.removeprefix('store-')} skipped=finished",
        str(store),
    ]


@pytest.mark.usefixtures("ray_head")
def test_strict_stops_at_the_first(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    wrong = {"reference": {"source": "here", "file": "two-reference.pdb", "chain": "Q"}}
    recipe = tiny_recipe(entry=wrong)
    assert main(["--recipe", str(recipe), "--home", str(tmp_path / "home"), "--strict"]) == 1
    (partial,) = (tmp_path / "home").glob("store-*.partial")
    assert not is_finished(partial / "systems/one")  # its states were never begun
