"""Pictures of what a trained VAE makes of its maps: one Ray task per system."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cryofound.config import Recipe
from cryofound.ensemble.store import open_store, read_density, read_system, system_folder
from cryofound.ensemble.system import System
from cryofound.evaluation.map_pictures import Comparison, save_comparison_picture
from cryofound.maps.density_map import DensityMap
from cryofound.models.vae import VAE
from cryofound.physics.density import render_gaussian
from cryofound.training.checkpoints import load_weights
from cryofound.training.molecules import molecule_batch, reference_density
from cryofound.training.scope import Group, group_of, groups
from cryofound.training.stage1 import build_vae
from jobs.recording import in_turn
from jobs.steps import fan_out

STATES = 3  # at most so many of a series are drawn, evenly apart


def draw(recipe: Recipe, store: Path, stage1: Path, folder: Path) -> None:
    """Write `<group>/<system>.png` for `recipe.tracking.pictures` systems, training ones first, families in turn.

    A held-out system is read by the VAE of its group, without a residual.
    """
    systems = open_store(store)
    trained = groups(recipe.scope, systems)
    owners = {name: group_of(recipe.scope, system, trained) for name, system in systems.items()}
    owned = {name: system for name, system in systems.items() if owners[name]}
    jobs = [(name, owner) for name in in_turn(owned, recipe.tracking.pictures, "train") if (owner := owners[name])]
    fan_out("reconstruct", partial(_draw, recipe, store, stage1, folder), jobs)


@torch.no_grad()
def reconstruct(vae: VAE, recipe: Recipe, system: System, residual: int, row: int, density: np.ndarray) -> np.ndarray:
    """(z, y, x) float32: the density (z, y, x) of state `row` encoded, decoded without noise and rendered again.

    residual: the system's row in the VAE's table, -1 for none.
    """
    resolution = system.states[row].resolution
    molecule = molecule_batch([system], [residual], recipe.model)
    tokens = vae.tokens(molecule, system.grid.shape_zyx[0])
    reference = reference_density(molecule, [system], [system.states[0].resolution])
    latent, _ = vae.encode(torch.from_numpy(density)[None].float(), reference, tokens)
    positions = molecule.reference_xyz + vae.decode(latent * tokens.mask[..., None], molecule, tokens)
    return render_gaussian(positions, molecule.amplitude, system.grid, resolution)[0].numpy()


def shown_states(system: System) -> Sequence[int]:
    """Rows of at most STATES states, the first and the last among them."""
    count = len(system.states)
    return sorted({round(row) for row in np.linspace(0, count - 1, min(count, STATES)).tolist()})


def _draw(recipe: Recipe, store: Path, stage1: Path, folder: Path, job: tuple[str, Group]) -> None:
    system_id, group = job
    place = system_folder(store, system_id)
    system = read_system(place)
    vae = build_vae(recipe, len(group.training_ids))
    load_weights(vae, group.folder(stage1))
    residual = group.training_ids.index(system_id) if system_id in group.training_ids else -1
    comparisons = []
    for row in shown_states(system):
        state, density = system.states[row], read_density(place, row)
        rebuilt = reconstruct(vae.eval(), recipe, system, residual, row, density)
        label = f"state {state.state_id}" + (" (not trained on)" if state.split != "train" and residual >= 0 else "")
        maps = DensityMap(density, system.grid), DensityMap(rebuilt, system.grid)
        comparisons.append(Comparison(label, *maps, state.resolution))
    seen = "trained on" if residual >= 0 else "held out of training"
    title = f"{system.family} / {system_id} ({seen}), stage 1"
    save_comparison_picture(group.folder(folder) / f"{system_id}.png", title, comparisons)
