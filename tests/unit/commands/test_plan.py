"""A plan says whether a recipe fits, what to change where it does not, and where its figures are from."""

from pathlib import Path

import numpy as np
import pytest

from cryofound.cli import main
from cryofound.commands.plan import StagePlan, advice, read_sizes
from cryofound.config import EngineConfig, Recipe, Stage1Config, load_recipe
from cryofound.training.devices import parse_cluster
from cryofound.training.footprint import Footprint

ENTRY = """
schema_version: 2
system_id: small
family: smalls
split: train
title: forty residues
accessions: {pdb: [1UBQ]}
sources: {1ubq: {kind: pdb, id: 1UBQ}}
reference: {source: 1ubq, chain: A, residues: [1, 40], method: experiment}
simulation: {resolution: 8.0}
states:
  - {state_id: a, kind: normal_mode}
  - {state_id: b, kind: normal_mode, sign: -1}
"""
RECIPE = """
name: tiny
entries: [%s/small.yaml]
grid: {box_size: 32}
stage1: {steps: 100, batch_size: 2}
stage2: {steps: 100, batch_size: 4}
engine: {threads: 1, precision: %s}
"""


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CRYOFOUND_MIRROR", raising=False)
    (tmp_path / "small.yaml").write_text(ENTRY)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE % (tmp_path, "bf16"))
    return path


@pytest.mark.parametrize("gpus", ["cpu", "1xA100-80"])
def test_a_plan_is_printed(recipe_file: Path, tmp_path: Path, gpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "--recipe", str(recipe_file), "--home", str(tmp_path), "--gpus", gpus, "--storage-price", "0.5"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "maps 2 of 32^3; largest system small, 312 atoms, 40 residues" in told
    assert "sizes known from: range 1" in told
    assert "stage1: fits" in told
    assert "stage2: fits" in told
    assert "(given, 0.5 a GB)" in told
    assert ("never measured" in told) == (gpus != "cpu")
    assert ("engine: planned for workers: 1, gpus_per_worker: 1" in told) == (gpus != "cpu")


def test_an_unknown_device_is_one_line(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--recipe", str(recipe_file), "--gpus", "8xGPU"]) == 1
    assert capsys.readouterr().err.startswith("error: --gpus 8xGPU: not understood")


def test_sizes_of_a_store_are_those_of_its_systems(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A reference in the mirror is read; without it the same entry is known by its range."""
    (tmp_path / "small.yaml").write_text(ENTRY.replace("1UBQ", "1EXR").replace("1ubq", "1exr"))
    recipe = Recipe(name="x", entries=(str(tmp_path / "small.yaml"),))
    monkeypatch.delenv("CRYOFOUND_MIRROR", raising=False)
    (unread,) = read_sizes(recipe, tmp_path, None, 400)
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(shared_data))
    (read,) = read_sizes(recipe, tmp_path, None, 400)
    assert (unread.known_from, read.known_from) == ("range", "reference")
    assert read.reference is not None
    assert read.atoms == read.reference.n_atoms
    np.testing.assert_allclose(read.reference.positions_xyz.min(0), -read.reference.positions_xyz.max(0), atol=1e-3)
    assert unread.residues == pytest.approx(read.residues, abs=2)
    assert unread.atoms == pytest.approx(read.atoms, rel=0.1)


def _stage(samples: int, most: int) -> StagePlan:
    memory = Footprint(1.0, 1.0, 2.0, 100.0 * 2**30 * samples / most, 0.0, 0.0)
    return StagePlan("stage1", 1, samples, most, 10, (1.0, 1.0), (1.0, 1.0), memory, 0.0)


def test_what_does_not_fit_is_told_with_the_settings_that_make_it_fit() -> None:
    cluster = parse_cluster("2xA100-80", 1)
    recipe = Recipe(
        name="x",
        entries=(),
        stage1=Stage1Config(batch_size=64),
        engine=EngineConfig(workers=2, gpus_per_worker=1),
    )
    (told,) = advice(recipe, cluster, [_stage(samples=32, most=10)])
    assert told.startswith("stage1: does not fit; set engine.accumulation to 4; or stage1.batch_size to 20; ")
    assert "engine.activation_checkpointing to true; or engine.precision to bf16" in told


def test_a_batch_that_cannot_be_shared_is_told() -> None:
    recipe = Recipe(name="x", entries=(), engine=EngineConfig(workers=32, gpus_per_worker=1))
    (told,) = advice(recipe, parse_cluster("4x8xA100-80", 1), [_stage(1, 10)])
    assert "does not run: a batch of 8 cannot be shared by 32 workers" in told


@pytest.mark.parametrize(
    ("name", "gpus"), [("demo", "cpu"), ("h200", "H200"), ("h200", "A100-80"), ("cluster_4x8_a100", "4x8xA100-80")]
)
def test_every_shipped_pretraining_recipe_is_of_its_cluster(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, gpus: str
) -> None:
    """Its batches can be shared by the workers it names, and its workers are those of the cluster."""
    monkeypatch.chdir(repository)
    monkeypatch.delenv("CRYOFOUND_MIRROR", raising=False)
    recipe = load_recipe(repository / f"configs/pretrain/{name}.yaml")
    cluster = parse_cluster(gpus, recipe.engine.workers)
    assert read_sizes(recipe, tmp_path, None, 400)
    small = [_stage(1, 10)]
    assert [line for line in advice(recipe, cluster, small) if not line.startswith("stage1: fits")] == []
    assert recipe.stage2.batch_size >= cluster.world * recipe.engine.accumulation
