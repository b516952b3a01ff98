"""Stage 2: one velocity field over the latents of all training systems, conditioned on sequence and reference.

Loss: mean squared error of the velocity x_1 - x_0 over occupied tokens, whitened per channel, at uniform times.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from cryofound.config import Recipe
from cryofound.ensemble.buckets import bucketed_batch, family_weights, make_buckets
from cryofound.ensemble.shards import ShardIndex
from cryofound.ensemble.system import System
from cryofound.generative.coupling import optimal_coupling
from cryofound.generative.paths import linear_path
from cryofound.models.vae import VAE
from cryofound.models.velocity import VelocityNetwork
from cryofound.structure.atomic_model import RESIDUE_TYPES
from cryofound.training.latents import Lending, encode_all, encode_references, with_interpolations
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1
from cryofound.training.validating import ValidationBatch, summed, validation_batches

ALIKE = 0.3  # cosine of two motions that are taken for one and the same


@dataclass(frozen=True)
class Draw:
    """One sample of a batch: the system that is the condition, and the motions (points of the latents) it is given."""

    system: int
    points: np.ndarray
    weights: np.ndarray


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
        self.batch_size, self.validate_every = config.batch_size, config.validate_every
        self.learning_rate, self.warmup_steps = config.learning_rate, config.warmup_steps
        self.weight_decay, self.gradient_clip = config.weight_decay, config.gradient_clip
        stage1 = Stage1(recipe, systems, shards)
        self.shelves, self.system_ids = stage1.shelves, stage1.system_ids
        self.latents = with_interpolations(encode_all(stage1, vae), config.interpolations_per_gap)
        self.lending = Lending(self.shelves, self.latents, encode_references(self.shelves, vae))
        self.families = families = [system.family for system in stage1.systems]
        boxes = np.array([system.grid.shape_zyx[0] for system in stage1.systems])
        weights = family_weights(families, 0.0, config.family_shares)
        self.buckets = make_buckets(boxes, self.shelves.sizes()[:, 1:].numpy(), config.batch_size, weights=weights)
        self.relatives = [
            [other for other, family in enumerate(families) if family == families[row] and other != row]
            for row in range(len(families))
        ]
        self._alike: dict[tuple[int, int], np.ndarray] = {}

    def module(self) -> VelocityNetwork:
        """A freshly initialised network that holds the whitening of this stage's latents."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            network = build_velocity(self.recipe)
        occupied = self.latents.latent[self.lending.occupied[self.latents.system]]
        network.latent_mean.copy_(occupied.mean(0))
        network.latent_std.copy_(occupied.std(0).clamp_min(1e-3))
        return network

    def batch(self, step: int, part: int, parts: int) -> Stage2Batch:
        """Conditions in turn, each with a code of its own system or a motion lent by its relatives, by weight.

        A relative's motion beside this reference is what sampling asks for: with its own codes alone, the network
        learns which reference has which code, and says nothing sensible for a reference between or beyond them.
        The samples [part::parts] of the step's batch, a pure function of recipe seed and arguments.
        """
        draws = self._draws(step)[part::parts]
        systems = torch.tensor([draw.system for draw in draws])
        codes = torch.stack([self.lending.lent(draw.points, draw.weights, draw.system) for draw in draws])
        return Stage2Batch(codes[:, : self.shelves[systems].tokens.mask.shape[1]], systems)

    def _draws(self, step: int) -> list[Draw]:
        """The conditions of a step, all of one box, and which motions go to each."""
        settings = self.recipe.stage2
        random = np.random.default_rng([self.recipe.seed, step, 2])
        draws = []
        for system in bucketed_batch(self.buckets, step, self.recipe.seed + 1).tolist():
            lent = self.relatives[system] and random.random() < settings.relatives
            owner = int(random.choice(self.relatives[system])) if lent else system
            point = self._point(owner, random)
            points, weights = np.array([point]), np.ones(1)
            if lent:
                points = np.array([point, *random.permutation(self._companions(point, system))])
                points = points[: 1 + random.integers(settings.companions + 1)]
                weights = random.dirichlet(np.ones(len(points))) * random.uniform(*settings.lent_amplitude)
            draws.append(Draw(system, points, weights))
        return draws

    def _point(self, system: int, random: np.random.Generator) -> int:
        """A point of the latent set that belongs to the system, by weight."""
        rows = torch.nonzero(self.latents.system == system).flatten().numpy()
        weight = self.latents.weight[rows].numpy().astype(np.float64)
        return int(random.choice(rows, p=weight / weight.sum()))

    def _companions(self, point: int, system: int) -> np.ndarray:
        """Of every other relative of `system`, the point that moves it most like `point` does, if it does so at all."""
        if not self.recipe.stage2.companions:
            return np.zeros(0, dtype=np.int64)
        if (point, system) not in self._alike:
            owner = int(self.latents.system[point])
            found = []
            for relative in self.relatives[system]:
                rows = torch.nonzero(self.latents.system == relative).flatten().numpy()
                likeness = self.lending.likeness(point, rows, system)
                if relative != owner and likeness.max() > ALIKE:
                    found.append(rows[likeness.argmax()])
            self._alike[point, system] = np.array(found, dtype=np.int64)
        return self._alike[point, system]

    def samples(self, step: int) -> int:
        """Codes in the batch of a step."""
        return len(bucketed_batch(self.buckets, step, self.recipe.seed + 1))

    def atoms(self, batch: Stage2Batch) -> int:
        """Atoms of the references of a batch."""
        return int(self.shelves.sizes()[batch.system, 0].sum())

    def describe(self, step: int) -> str:
        """The systems whose codes and references a step takes, and which of the codes are no numbers."""
        draws = self._draws(step)
        rows = {int(point) for draw in draws for point in draw.points}
        owners = {row: self.system_ids[int(self.latents.system[row])] for row in rows}
        bad = sorted({owner for row, owner in owners.items() if not self.latents.latent[row].isfinite().all()})
        found = f"not finite: {', '.join(bad)}" if bad else "all finite"
        references = sorted({self.system_ids[draw.system] for draw in draws})
        return f"codes of {', '.join(sorted(set(owners.values())))} ({found}) on {', '.join(references)}"

    def validate(self, module: nn.Module, part: int, parts: int) -> dict[str, Tensor]:
        """The flow's loss on each system's own codes with noise that is always the same."""
        owners = [self.system_ids[row] for row in self.latents.system.tolist()]
        batches = validation_batches(owners, dict(zip(self.system_ids, self.families, strict=True)), self.batch_size)

        def mean(batch: ValidationBatch) -> Tensor:
            rows = torch.tensor(batch.rows)
            systems = self.latents.system[rows]
            length = self.shelves[systems].tokens.mask.shape[1]
            codes = Stage2Batch(self.latents.latent[rows, :length], systems)
            return self.losses(module, codes, Noise(self.recipe.seed, 0))["total"]

        sums = summed("flow", batches, part, parts, mean)
        return {"loss": sums["flow"], **sums}

    def losses(self, module: nn.Module, batch: Stage2Batch, noise: Noise) -> dict[str, Tensor]:
        """`total`: the mean squared error of the velocity, per whitened number of the code."""
        network = cast(VelocityNetwork, module)  # the loop trains what `module` gave it
        device = network.latent_mean.device
        tokens = self.shelves[batch.system].tokens.to(device)
        # residues are encoded once per system and shared by the points of the batch
        unique, inverse = batch.system.unique(return_inverse=True)
        molecules = self.shelves[unique].molecules.to(device)
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
