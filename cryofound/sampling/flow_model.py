"""A trained pair of networks: what sampling starts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryofound.config import Recipe
from cryofound.models.vae import VAE
from cryofound.models.velocity import VelocityNetwork
from cryofound.sampling.members import Member
from cryofound.training.checkpoints import load_weights
from cryofound.training.stage1 import build_vae
from cryofound.training.stage2 import build_velocity


@dataclass(frozen=True)
class FlowModel:
    """A trained pair of networks, their recipe, and the names of the systems that own a residual.

    members: what it remembers of these systems, in the same order, where it came with them (`load_model` of a registry,
    a model folder or a home). Without members a newcomer finds no family.
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
