"""Zero-shot sampling: an ensemble for a reference, with or without maps of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cryofound.config import Recipe
from cryofound.ensemble.system import System
from cryofound.generative.solvers import guided, solve_ode
from cryofound.models.vae import VAE
from cryofound.models.velocity import VelocityNetwork
from cryofound.sampling.members import Member
from cryofound.sampling.repair import repair
from cryofound.training.checkpoints import load_weights
from cryofound.training.molecules import molecule_batch
from cryofound.training.stage1 import build_vae
from cryofound.training.stage2 import build_velocity


@dataclass(frozen=True)
class FlowModel:
    """A trained pair of networks, their recipe, the names of the systems that own a residual, and what is kept of them.

    Without members a newcomer finds no family.
    """

    recipe: Recipe
    training_ids: tuple[str, ...]
    vae: VAE
    velocity: VelocityNetwork
    members: tuple[Member, ...] = ()


def load_flow_model(recipe: Recipe, training_ids: Sequence[str], stage1: Path, stage2: Path) -> FlowModel:
    """Load the exports of both stages; raises StoreError where one is damaged or of another recipe."""
    vae, velocity = build_vae(recipe, len(training_ids)), build_velocity(recipe)
    load_weights(vae, stage1)
    load_weights(velocity, stage2)
    return FlowModel(recipe, tuple(training_ids), vae.eval(), velocity.eval())


@torch.no_grad()
def sample_system(model: FlowModel, system: System, seed: int) -> np.ndarray:
    """Draw latents from the flow and decode them at the reference and repair them: (sample, atom, 3) float32 angstrom.

    Number of samples, solver steps and guidance are the recipe's. A system that was trained on uses its residual, any
    other one zero. The system must be in the canonical frame of its family.
    """
    settings = model.recipe.sampling
    count = settings.samples
    row = model.training_ids.index(system.system_id) if system.system_id in model.training_ids else -1
    molecule = molecule_batch([system], [row], model.recipe.model)
    tokens = model.vae.tokens(molecule, system.grid.shape_zyx[0]).rows(torch.zeros(count, dtype=torch.long))
    residues = model.velocity.condition(molecule).expand(count, -1, -1)
    mask = molecule.residue_mask.expand(count, -1)
    kept, dropped = torch.zeros(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)

    def velocity(x_t: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        conditional = model.velocity(x_t, time, tokens, residues, mask, kept)
        if settings.guidance == 1:
            return conditional
        return guided(conditional, model.velocity(x_t, time, tokens, residues, mask, dropped), settings.guidance)

    generator = torch.Generator().manual_seed(seed)
    shape = (count, tokens.mask.shape[1], model.recipe.model.latent_channels)
    x_0 = torch.randn(shape, generator=generator) * tokens.mask[..., None]
    x_1 = solve_ode(velocity, x_0, settings.solver_steps, settings.solver)
    latent = model.velocity.unwhiten(x_1) * tokens.mask[..., None]
    displacement = model.vae.decode(latent, molecule.rows(torch.zeros(count, dtype=torch.long)), tokens)
    decoded = (molecule.reference_xyz + displacement).numpy()
    with torch.enable_grad():
        return repair(system.reference, decoded, settings.repair)
