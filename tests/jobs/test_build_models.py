"""The building job: systems of a catalog on Ray, skipped when finished, begun again when killed, told to MLflow."""

import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from mlflow import MlflowClient

from cryofound.manifest import PARTIAL, is_finished
from cryofound.structure.writing import write_ensemble
from jobs.build_models import main
from tests.made_peptides import made_peptide

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_head")]

QUICK = {"motion_steps": 10, "refinement": [[5.0, 5, 0.03]], "group_levels": [2], "free_share": 0.0}


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Entries of two systems, `bent` and one whose reference has another sequence, and a quick recipe."""
    model = made_peptide(["ALA"] * 16)
    bent = model.positions_xyz + 0.002 * model.positions_xyz[:, :1] ** 2 * np.array([0, 0, 1])
    write_ensemble(tmp_path / "reference.cif", model, model.positions_xyz[None])
    write_ensemble(tmp_path / "bent.cif", model, bent[None].astype(np.float32))
    for name, more in (("bent", {}), ("wrong", {"sequence": "G" * 16})):
        entry = {
            "schema_version": 2,
            "system_id": name,
            "family": "made",
            "split": "train",
            "sources": {"here": {"kind": "local", "folder": "."}},
            "reference": {"source": "here", "file": "reference.cif"},
            "states": [{"state_id": "one", "kind": "structure", "source": "here", "file": "bent.cif"}],
            "simulation": {"resolution": 6.0, "noise": 0.1},
        }
        (tmp_path / f"{name}.entry.yaml").write_text(yaml.safe_dump(entry | more))
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    return tmp_path


def submit(catalog: Path, out: str, *systems: str) -> int:
    chosen = ["--system", *systems] if systems else []
    entries, recipe = str(catalog / "*.entry.yaml"), str(catalog / "quick.yaml")
    places = ["--home", str(catalog / "home"), "--out", str(catalog / out)]
    return main([*chosen, "--entries", entries, "--recipe", recipe, *places, "--cpus", "0.5"])


def kill_when(path: Path, title: str, killed: list[int]) -> None:
    """SIGKILL to the Ray worker of this title, once a file is there."""
    while not path.exists():
        time.sleep(0.002)
    for process in psutil.Process().children(recursive=True):
        if " ".join(process.cmdline()).startswith(title):
            process.kill()
            killed.append(process.pid)


def test_built_without_a_server_then_told_and_skipped_and_the_same_after_a_kill(
    catalog: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setenv("CRYOFOUND_TRACKING_URI", "http://127.0.0.1:9")
        without.setattr("jobs.build_models.PATIENCE", 1.0)
        assert submit(catalog, "out") == 1
    printed = capfd.readouterr()
    assert printed.err.startswith("error: wrong: ")
    assert "sequence of wrong does not match" in printed.err
    assert printed.err.count("\n") == 1
    built = catalog / "out" / "bent"
    lines = printed.out.splitlines()
    assert f"build bent out={built}" in lines
    assert "build systems [########################] 100%  2/2" in lines
    assert any("all models are kept, submit the job again to log the rest" in line for line in lines)
    assert is_finished(built)
    assert sorted(each.name for each in (catalog / "out").iterdir()) == ["bent", "bent-inputs"]

    monkeypatch.delenv("CRYOFOUND_TRACKING_URI", raising=False)
    written = {path: path.stat().st_mtime_ns for path in (catalog / "out").rglob("*")}
    assert submit(catalog, "out") == 1
    assert f"build bent out={built} skipped=finished" in capfd.readouterr().out.splitlines()
    assert {path: path.stat().st_mtime_ns for path in (catalog / "out").rglob("*")} == written
    client = MlflowClient(tracking_uri=f"sqlite:///{catalog / 'home' / 'mlflow.db'}")
    (experiment,) = [each.experiment_id for each in client.search_experiments() if each.name == "cryofound"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert {name: run.info.status for name, run in runs.items()} == {"build-bent": "FINISHED", "build-wrong": "FAILED"}
    assert runs["build-bent"].data.metrics["one/cc_mask"] > 0.5
    assert "does not match" in runs["build-wrong"].data.tags["error"]

    killed: list[int] = []
    half_way = catalog / "again" / f"bent{PARTIAL}" / "one.cif"
    threading.Thread(target=kill_when, args=(half_way, "ray::build/bent", killed), daemon=True).start()
    assert submit(catalog, "again", "BENT") == 0
    assert len(killed) == 1
    assert sorted(each.name for each in (catalog / "again").iterdir()) == ["bent", "bent-inputs"]
    for name in ("one.cif", "scores.json", "displacements.csv"):
        assert (catalog / "again" / "bent" / name).read_bytes() == (built / name).read_bytes()
