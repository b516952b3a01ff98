"""Stage 2: one velocity field over the latents of all training systems, conditioned on sequence and reference.

Loss: mean squared error of the velocity x_1 - x_0 over occupied tokens, whitened per channel, at uniform times.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from cryofound.config import Recipe
from cryofound.ensemble.shards import ShardIndex
from cryofound.ensemble.system import System
from cryofound.generative.coupling import optimal_coupling
from cryofound.generative.paths import linear_path
from cryofound.models.latent_grid import TokenGrid
from cryofound.models.vae import VAE
from cryofound.models.velocity import VelocityNetwork
from cryofound.structure.atomic_model import RESIDUE_TYPES
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1


@dataclass(frozen=True)
class LatentSet:
    """Posterior means of all training maps with the latents between neighbours added.

    latent (point, token, C); system (point,) row of the training systems; weight (point,) summing to 1 per system.
    """

    latent: Tensor
    system: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Stage2Batch:
    """latent (batch, token, C), not whitened, on the tokens of the system (batch,) that is the condition."""

    latent: Tensor
    system: Tensor


class Stage2:
    """The `Stage` of training/loop.py for the velocity network."""

    name = "stage2"

    def __init__(self, recipe: Recipe, systems: dict[str, System], shards: ShardIndex, vae: VAE):
        config = recipe.stage2
        self.recipe = recipe
        self.steps, self.checkpoint_every, self.log_every = config.steps, config.checkpoint_every, config.log_every
        self.batch_size = config.batch_size
        self.learning_rate, self.warmup_steps = config.learning_rate, config.warmup_steps
        self.weight_decay, self.gradient_clip = config.weight_decay, config.gradient_clip
        stage1 = Stage1(recipe, systems, shards)
        self.molecules, self.tokens = stage1.molecules, stage1.tokens
        self.latents = with_interpolations(encode_all(stage1, vae), config.interpolations_per_gap)
        families = [system.family for system in stage1.systems]
        self.relatives = [
            [other for other, family in enumerate(families) if family == families[row] and other != row]
            for row in range(len(families))
        ]

    def module(self) -> VelocityNetwork:
        """A freshly initialised network that holds the whitening of this stage's latents."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            network = build_velocity(self.recipe)
        occupied = self.latents.latent[self.tokens.mask[self.latents.system]]
        network.latent_mean.copy_(occupied.mean(0))
        network.latent_std.copy_(occupied.std(0).clamp_min(1e-3))
        return network

    def batch(self, step: int, part: int, parts: int) -> Stage2Batch:
        """Conditions in turn from a random start, each with a code of its own system or of a relative, by weight.

        A relative's code beside this reference is what sampling asks for: with its own codes alone, the network learns
        which reference has which code, and says nothing sensible for a reference between or beyond them.
        The samples [part::parts] of the step's batch, a pure function of recipe seed and arguments.
        """
        settings, systems = self.recipe.stage2, len(self.molecules.system_index)
        random = np.random.default_rng([self.recipe.seed, step, 2])
        conditions = (np.arange(settings.batch_size) + random.integers(systems)) % systems
        rows = []
        for system in conditions:
            relatives = self.relatives[system]
            lent = relatives and random.random() < settings.relatives
            rows.append(self._draw(random.choice(relatives) if lent else system, random))
        chosen, system = torch.tensor(rows)[part::parts], torch.from_numpy(conditions)[part::parts]
        place = nearest_tokens(self.tokens.rows(self.latents.system[chosen]), self.tokens.rows(system))
        latent = self.latents.latent[chosen].gather(1, place[..., None].expand(-1, -1, self.latents.latent.shape[2]))
        return Stage2Batch(latent, system)

    def _draw(self, system: int, random: np.random.Generator) -> int:
        """A row of the latent set that belongs to the system, by weight."""
        rows = torch.nonzero(self.latents.system == system).flatten().numpy()
        weight = self.latents.weight[rows].numpy().astype(np.float64)
        return int(random.choice(rows, p=weight / weight.sum()))

    def losses(self, module: nn.Module, batch: Stage2Batch, noise: Noise) -> dict[str, Tensor]:
        """`total`: the mean squared error of the velocity, per whitened number of the code."""
        network = cast(VelocityNetwork, module)  # the loop trains what `module` gave it
        device = network.latent_mean.device
        tokens = self.tokens.rows(batch.system).to(device)
        # residues are encoded once per system and shared by the points of the batch
        unique, inverse = batch.system.unique(return_inverse=True)
        molecules = self.molecules.rows(unique).to(device)
        residues = network.condition(molecules)[inverse.to(device)]
        x_1 = network.whiten(batch.latent.to(device)) * tokens.mask[..., None]
        x_0 = noise.normal("x_0", x_1.shape, device) * tokens.mask[..., None]
        if self.recipe.stage2.coupling == "optimal_transport":
            x_0 = x_0[optimal_coupling(x_0, x_1, batch.system)]
        time = noise.uniform("time", len(x_1), device)
        dropped = noise.uniform("dropped", len(x_1), device) < self.recipe.stage2.condition_dropout
        x_t, target = linear_path(x_0, x_1, time)
        predicted = network(x_t, time, tokens, residues, molecules.residue_mask[inverse.to(device)], dropped)
        error = (predicted - target).square().mean(-1) * tokens.mask
        return {"total": (error.sum(1) / tokens.mask.sum(1)).mean()}

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        """Weights for safetensors."""
        return {name: value.detach().float().cpu().contiguous() for name, value in module.state_dict().items()}


def build_velocity(recipe: Recipe) -> VelocityNetwork:
    """The velocity network of a recipe."""
    config = recipe.stage2
    model = recipe.model
    return VelocityNetwork(
        model.latent_channels, config.width, config.depth, config.heads, len(RESIDUE_TYPES), model.embedding_width
    )


@torch.no_grad()
def encode_all(stage1: Stage1, vae: VAE) -> LatentSet:
    """Posterior means of every training map in the order of its series, weighted by population within its system."""
    shards = stage1.shards
    metas = [shards.sample(row)[1] for row in range(len(shards))]
    order = sorted(range(len(metas)), key=lambda row: (metas[row]["system_id"], metas[row]["state_index"]))
    latents, system, weight = [], [], []
    for row in order:
        density, meta = shards.sample(row)
        index = torch.tensor([stage1.system_ids.index(meta["system_id"])])
        mean, _ = vae.encode(
            torch.from_numpy(density)[None].float(), stage1.reference[index], stage1.tokens.rows(index)
        )
        latents.append(mean * stage1.tokens.mask[index][..., None])
        system.append(index)
        weight.append(float(meta["population"]))
    return _normalised(torch.cat(latents), torch.cat(system), torch.tensor(weight))


def nearest_tokens(source: TokenGrid, target: TokenGrid) -> Tensor:
    """For each token of `target` the row of the nearest occupied token of `source`, (batch, token)."""
    distance = torch.cdist(target.centres_xyz, source.centres_xyz)
    return distance.masked_fill(~source.mask[:, None], torch.inf).argmin(-1)


def with_interpolations(latents: LatentSet, per_gap: int) -> LatentSet:
    """Add `per_gap` evenly spaced latents between neighbouring states of each system (CryoSampler: 93)."""
    rows = [(row, row, 0.0) for row in range(len(latents.system))]
    for row in range(len(latents.system) - 1):
        if latents.system[row] == latents.system[row + 1]:
            rows += [(row, row + 1, (k + 1) / (per_gap + 1)) for k in range(per_gap)]
    first, second = (torch.tensor([row[column] for row in rows]) for column in (0, 1))
    share = torch.tensor([row[2] for row in rows])
    latent = torch.lerp(latents.latent[first], latents.latent[second], share[:, None, None])
    weight = torch.lerp(latents.weight[first], latents.weight[second], share)
    return _normalised(latent, latents.system[first], weight)


def _normalised(latent: Tensor, system: Tensor, weight: Tensor) -> LatentSet:
    total = torch.zeros(int(system.max()) + 1).index_add(0, system, weight)
    return LatentSet(latent, system, weight / total[system])
