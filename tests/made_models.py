"""A finished home made up for tests: a store, both stages with weights by chance, no training; and a registry."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cryofound import tracking
from cryofound.config import Recipe
from cryofound.ensemble.shards import ShardIndex, shard_key, write_shard
from cryofound.ensemble.store import open_store, shard_folder, system_folder
from cryofound.ensemble.system import State, StateArrays, System
from cryofound.ensemble.writing import begin_system, finish_system, write_states
from cryofound.manifest import publishing, write_manifest
from cryofound.maps.density_map import Grid
from cryofound.physics.density import render_gaussian
from cryofound.registry import promote, register_model
from cryofound.sampling.model_folder import write_model_folder
from cryofound.structure.atomic_model import RESIDUE_TYPES, AtomicModel
from cryofound.training.checkpoints import save_export
from cryofound.training.molecules import molecule_batch
from cryofound.training.stage1 import Stage1
from cryofound.training.stage2 import Stage2
from tests.made_peptides import made_peptide
from tests.made_proteins import made_protein

RECIPE = Recipe.model_validate(
    {
        "name": "hinges",
        "entries": [],
        "grid": {"box_size": 48, "voxel_size": 2.0},
        "model": {
            "encoder_width": 16, "decoder_width": 16, "encoder_depth": 1, "decoder_depth": 1, "feature_channels": 8,
            "token_width": 16, "atom_field_width": 16, "latent_channels": 4,
        },
        "stage1": {"batch_size": 2, "stereochemistry_weight": 0},
        "stage2": {"batch_size": 2, "width": 16, "depth": 1, "heads": 2},
        "sampling": {
            "samples": 2, "solver_steps": 2, "repair": {"iterations": 0}, "attempts_per_sample": 50,
            "validity": {"ramachandran_outliers": 1.0, "clashes": 1e6, "bond_rms": 1e3},
        },
        "tracking": {"registered_model": "hinges"},
    }
)  # fmt: skip
TRAINED = ("one", "two")  # of one family, one its anchor
CORE = np.arange(40) < 20


def made_home(folder: Path, truth_seed: int = 0) -> Path:
    """A home with the systems of `TRAINED` and `away`, which was held out.

    Each has three states, the second of which training did not see. truth_seed changes the true atoms, not the maps.
    """
    store = folder / "store-0123456789ab"
    systems = {name: _write_system(store, name, row, truth_seed) for row, name in enumerate((*TRAINED, "away"))}
    samples = [
        (shard_key(name, state.state_id), density, _meta(system, row))
        for name, (system, densities) in systems.items()
        for row, (state, density) in enumerate(zip(system.states, densities, strict=True))
        if system.split == state.split == "train"
    ]
    write_shard(shard_folder(store) / "000000.tar", samples)
    write_manifest(store, kind="store", digest="0123456789ab", systems=sorted(systems))

    opened = {name: system for name, system in open_store(store).items() if name in TRAINED}
    shards = ShardIndex.open(shard_folder(store))
    stage1 = Stage1(RECIPE, opened, shards)
    vae = _by_chance(stage1.module())
    stage2 = Stage2(RECIPE, opened, shards, vae)
    config = {"recipe": RECIPE.model_dump(mode="json"), "training_ids": list(TRAINED)}
    for stage, module in ((stage1, vae), (stage2, _by_chance(stage2.module()))):
        with publishing(folder / f"{stage.name}-0123456789ab", step=stage.name, revision="abc") as partial:
            save_export(partial, stage.export(module), config)
            (partial / "curve.jsonl").write_text("{}\n")
    return folder


def made_relative() -> AtomicModel:
    """A sound helix of the sequence of `one`: a newcomer whose samples can be valid."""
    sequence = [RESIDUE_TYPES[int(kind)] for kind in made_protein(40, seed=0).residue_type]
    return made_peptide(sequence, phi=-57.0, psi=-70.0)


def register_two(home: Path, folder: Path) -> Path:
    """Make `folder` a home where the model of `home` is versions 1 (production) and 2 of `hinges`, beside an `old`."""
    run = tracking.open_run(folder, "experiment", "hinges", "0123", {})
    store, stage1, stage2 = (home / f"{name}-0123456789ab" for name in ("store", "stage1", "stage2"))
    write_model_folder(folder / "model", RECIPE, store, stage1, stage2)
    for _ in range(2):
        register_model(run, "hinges", folder / "model")
    promote(folder, "hinges/1", "production")
    # what was registered before there were members: both exports, nothing else
    old = tracking.open_run(folder, "experiment", "old", "0456", {})
    for stage in (stage1, stage2):
        old.log_artifact(stage, f"model/artifacts/{stage.name}")
    with tracking.reaching(run.uri) as client:
        client.create_registered_model("old")
        source = client.get_run(old.run_id).info.artifact_uri
        client.create_model_version("old", f"{source}/model", old.run_id)
    return folder


def _write_system(store: Path, name: str, row: int, truth_seed: int) -> tuple[System, list[np.ndarray]]:
    reference, grid = made_protein(40, seed=row), Grid.centred(48, 2.0)
    true = np.stack([made_protein(40, seed=row, hinge_degrees=angle).positions_xyz for angle in (-20, 10, 20)])
    system = System(
        name, "hinges", "held_out" if name == "away" else "train", reference, np.arange(40, dtype=np.float32),
        (State("a", 1, 6, "train"), State("b", 1, 6, "validation"), State("c", 2, 6, "train")),
        true, np.ones(true.shape[:2], dtype=bool), grid,
    )  # fmt: skip
    amplitude = molecule_batch([system], [0]).amplitude.expand(3, -1)
    densities = list(render_gaussian(torch.from_numpy(true), amplitude, grid, 6.0).numpy())
    told = true + np.random.default_rng(truth_seed).normal(size=true.shape).astype(np.float32) * (truth_seed != 0)
    system = replace(system, truth_xyz=told)
    folder = system_folder(store, name)
    entry = {
        "title": f"hinge {name}",
        "licence": None if name == "two" else "CC0-1.0",
        "citation": "none",
        "states": [{"state_id": "a", "kind": "map"}, {"state_id": "b", "kind": "map"}]
        + [{"state_id": "c", "kind": "structure" if name == "one" else "map"}],
    }
    provenance = {"entry": entry, "anchor": "one", "identity": f"id-{name}"}
    begin_system(folder, system.outline, provenance, {"placement/core": CORE})
    write_states(folder, 0, [StateArrays(*each) for each in zip(densities, told, system.truth_mask, strict=True)])
    finish_system(folder)
    return system, densities


def _meta(system: System, row: int) -> dict[str, Any]:
    state = system.states[row]
    return {
        "system_id": system.system_id,
        "state_id": state.state_id,
        "state_index": row,
        "population": state.population,
        "resolution": state.resolution,
    }


def _by_chance(module: nn.Module) -> Any:
    """Every weight away from what a network begins with, so that atoms move."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return module.eval()
