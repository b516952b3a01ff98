"""A small family of made-up proteins as a recipe on disk, and one Ray for all tests that need it."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel
from tests.made_proteins import made_protein

TINY: dict[str, Any] = {
    "grid": {"box_size": 48, "voxel_size": 2.0},
    "model": {
        "encoder_width": 16, "decoder_width": 16, "encoder_depth": 1, "decoder_depth": 1, "feature_channels": 8,
        "token_width": 16, "atom_field_width": 16, "latent_channels": 4,
    },
    "stage1": {"steps": 40, "batch_size": 2, "warmup_steps": 5, "log_every": 5, "checkpoint_every": 10},
    "stage2": {
        "steps": 40, "batch_size": 4, "warmup_steps": 5, "log_every": 10, "checkpoint_every": 20,
        "width": 16, "depth": 1, "heads": 2,
    },
    "sampling": {"samples": 4, "solver_steps": 5},
    "engine": {"threads": 1},
}  # fmt: skip


@pytest.fixture(scope="session")
def ray_head(repository: Path) -> Iterator[None]:
    """Ray on two CPUs of this machine, its workers finding the packages of the working copy."""
    environment = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": environment},
    )
    yield
    ray.shutdown()


def write_pdb(path: Path, model: AtomicModel, leave_out: str = "") -> None:
    """The model as a PDB file, without the atoms called `leave_out`."""
    lines = []
    for row, (x, y, z) in enumerate(model.positions_xyz.tolist()):
        name, residue = ATOM_NAMES[model.atom_name[row]], int(model.residue_index[row])
        if name != leave_out:
            kind, number = RESIDUE_TYPES[model.residue_type[residue]], model.residue_number[residue]
            lines.append(
                f"ATOM  {row + 1:5d}  {name:<3s} {kind} {model.chain_id[residue]}{number:4d}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00          {ELEMENTS[model.element[row]]:>2s}"
            )
    path.write_text("\n".join([*lines, "END", ""]))


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes structures, entries and a recipe of two systems, one held out; the path of the recipe.

    `entry` changes the held-out system's entry, `recipe` the recipe; `leave_out` names an atom that its files lack.
    """

    def write(entry: dict[str, Any] | None = None, recipe: dict[str, Any] | None = None, leave_out: str = "") -> Path:
        for system, split in (("one", "train"), ("two", "held_out")):
            further = 0.0 if system == "one" else 5.0
            for state, degrees in (("reference", 0.0), ("left", -20.0 - further), ("right", 20.0 - further)):
                model = made_protein(hinge_degrees=degrees)
                write_pdb(tmp_path / f"{system}-{state}.pdb", model, leave_out if split == "held_out" else "")
            facts: dict[str, Any] = {
                "system_id": system,
                "family": "hinges",
                "split": split,
                "sources": {"here": {"kind": "local", "folder": "."}},
                "reference": {"source": "here", "file": f"{system}-reference.pdb"},
                "states": [
                    {"state_id": state, "kind": "structure", "source": "here", "file": f"{system}-{state}.pdb"}
                    for state in ("left", "right")
                ],
                "simulation": {"resolution": 6.0},
                "citation": "made up",
                "licence": "CC0-1.0",
            }
            changes = (entry or {}) if split == "held_out" else {}
            (tmp_path / f"{system}.entry.yaml").write_text(yaml.safe_dump(facts | changes))
        path = tmp_path / "recipe.yaml"
        facts = {"name": "tiny", "entries": [f"{tmp_path}/*.entry.yaml"], **TINY, **(recipe or {})}
        path.write_text(yaml.safe_dump(facts))
        return path

    return write
