"""A folder of made-up systems, and Ray on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Three systems of one family: `a` (the anchor) and `b` train, `c` is held out; each has two states and a third."""
    folder = tmp_path / "catalog"
    (folder / "files").mkdir(parents=True)
    for number, name in enumerate("abc"):
        for state, angle in (("closed", 0), ("between", 20), ("open", 40)):
            model = made_protein(60, hinge_degrees=angle)
            write_ensemble(folder / f"files/{name}_{state}.cif", model, model.positions_xyz[None] + 30 * number)
        write_entry(folder, name)
    return folder


def write_entry(folder: Path, name: str, **changes: Any) -> Path:
    """Write the entry of one of the made-up systems with some of its keys changed."""
    states = [
        {"state_id": state, "kind": "structure", "source": "here", "file": f"{name}_{state}.cif", "split": split}
        for state, split in (("closed", "train"), ("between", "validation"), ("open", "train"))
    ]
    entry = {
        "system_id": name,
        "family": "made",
        "split": "held_out" if name == "c" else "train",
        "sources": {"here": {"kind": "local", "folder": "files"}},
        "reference": {"source": "here", "file": f"{name}_closed.cif"},
        "states": states,
        "simulation": {"resolution": 8.0, "noise": 0.1},
        "citation": "made up",
        "licence": "CC0-1.0",
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(entry))
    return path


@pytest.fixture(scope="session")
def local_ray(repository: Path) -> Iterator[None]:
    """Ray on two cores of this machine, unless a test has started it already."""
    if ray.is_initialized():
        yield
        return
    environment = {"env_vars": {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}}
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200 * 2**20, runtime_env=environment)
    yield
    ray.shutdown()
