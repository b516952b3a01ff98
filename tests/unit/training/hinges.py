"""A made-up family of two hinges as training data."""

from pathlib import Path

import numpy as np
import torch

from cryofound.config import Recipe
from cryofound.ensemble.shards import ShardIndex, shard_key, write_shard
from cryofound.ensemble.system import State, System
from cryofound.maps.density_map import Grid
from cryofound.physics.density import render_gaussian
from cryofound.training.molecules import molecule_batch
from tests.unit.training.test_stages import RECIPE, bent, reference


def hinge_recipe(batch_size: int) -> Recipe:
    """A small recipe for them."""
    sizes = {name: {**getattr(RECIPE, name).model_dump(), "batch_size": batch_size} for name in ("stage1", "stage2")}
    return RECIPE.model_validate({**RECIPE.model_dump(), **sizes})


def two_hinges(folder: Path, spoilt: str = "") -> tuple[dict[str, System], ShardIndex]:
    """Two relatives of unequal length, so that batches are padded, with two maps each; the `spoilt` one has a NaN."""
    grid, systems, samples = Grid.centred(32, 2.0), {}, []
    for name, residues in (("long", 24), ("short", 22)):
        model = reference(residues)
        truth = np.stack([bent(model, degrees) for degrees in (-20.0, 20.0)])
        states = tuple(State(state, 1.0, 6.0, "train") for state in ("a", "b"))
        position = np.arange(residues, dtype=np.float32)
        mask = np.ones(truth.shape[:2], dtype=bool)
        systems[name] = System(name, "hinges", "train", model, position, states, truth, mask, grid)
        amplitude = molecule_batch([systems[name]], [0]).amplitude.expand(2, -1)
        density = render_gaussian(torch.from_numpy(truth), amplitude, grid, 6.0).numpy()
        for row, state in enumerate(states):
            key = shard_key(name, state.state_id)
            if key == spoilt:
                density[row, 16, 16, 16] = np.nan
            facts = {"system_id": name, "state_index": row, "population": 1.0, "resolution": 6.0}
            samples.append((key, density[row], facts))
    write_shard(folder / "train-000000.tar", samples)
    return systems, ShardIndex.open(folder)
