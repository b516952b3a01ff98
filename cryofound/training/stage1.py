"""Stage 1: one VAE over the maps of all training systems.

Loss = 1 - NCC + KL + distances kept (backbone windows, bonds, across peptides, within residues) + turning of residues +
|system residual|^2 + stereochemistry, each with its weight of the recipe: docs/decisions, 002 and 014, say why these.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from cryofound.config import LossTerm, Recipe, Stage1Config
from cryofound.ensemble.buckets import Buckets, bucketed_batch, family_weights, make_buckets
from cryofound.ensemble.shards import SEPARATOR, ShardIndex
from cryofound.ensemble.system import System
from cryofound.maps.density_map import Grid
from cryofound.models.molecule import MoleculeBatch
from cryofound.models.vae import VAE
from cryofound.physics.blurring import blurred, sharpening
from cryofound.physics.correlation import ncc
from cryofound.physics.density import render_gaussian
from cryofound.physics.geometry import (
    DistancePairs,
    backbone_pairs,
    bond_pairs,
    distance_loss,
    peptide_pairs,
    residue_pairs,
    turning_loss,
)
from cryofound.physics.stereochemistry import stereochemistry, stereochemistry_loss
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES
from cryofound.training.checkpoints import load_weights
from cryofound.training.guides import Guides, guide_loss
from cryofound.training.noise import Noise, Silence
from cryofound.training.shelves import make_shelves
from cryofound.training.validating import summed, validation_batches

COARSELY_DRAWN = 8.0  # angstrom


@dataclass(frozen=True)
class Stage1Batch:
    """density (batch, z, y, x) with the training system of each map (batch,) and its resolution in angstrom.

    coarsest (angstrom): maps are compared with what is rendered at this resolution where their own is finer.
    guide_xyz (batch, atom, 3) angstrom: models that were placed into the maps; guided is what is left of their weight.
    """

    density: Tensor
    system: Tensor
    resolution: tuple[float, ...]
    coarsest: float = 0.0
    guide_xyz: Tensor | None = None
    guided: float = 0.0


class Stage1:
    """The `Stage` of training/loop.py for the VAE."""

    name = "stage1"

    def __init__(self, recipe: Recipe, systems: dict[str, System], shards: ShardIndex, guides: Guides | None = None):
        config = recipe.stage1
        self.recipe, self.shards, self.guides = recipe, shards, guides
        self.system_ids = training_ids(systems)
        self.systems = [systems[name] for name in self.system_ids]
        self.steps, self.checkpoint_every, self.log_every = config.steps, config.checkpoint_every, config.log_every
        self.batch_size, self.validate_every = config.batch_size, config.validate_every
        self.learning_rate, self.warmup_steps = config.learning_rate, config.warmup_steps
        self.weight_decay, self.gradient_clip = config.weight_decay, config.gradient_clip
        self.shelves = make_shelves(recipe, self.systems)
        self.owners = [sample.key.partition(SEPARATOR)[0] for sample in shards.samples]
        self.backbone = [backbone_pairs(system.reference) for system in self.systems]
        self.bond = [bond_pairs(system.reference) for system in self.systems]
        self.peptide = [peptide_pairs(system.reference) for system in self.systems]
        self.residue = [residue_pairs(system.reference) for system in self.systems]
        self.weights = {name: loss_weights(name, config, self.systems) for name in get_args(LossTerm)}
        wanted = self.systems if self.weights["stereochemistry"].any() else []
        self.stereochemistry = [stereochemistry(system.reference) for system in wanted]

    def module(self) -> VAE:
        """A freshly initialised VAE, the same for the same recipe and torch version."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return build_vae(self.recipe, len(self.systems))

    def batch(self, step: int, part: int, parts: int) -> Stage1Batch:
        """The maps [part::parts] of one step's batch, a pure function of recipe seed and arguments."""
        return self.maps(self._rows(step)[part::parts], self.coarsest(step), self.guided(step))

    @cached_property
    def buckets(self) -> Buckets:
        """Maps of one box and of molecules of like size, each family by the weight that the recipe gives it."""
        config = self.recipe.stage1
        numbers = [self.system_ids.index(owner) for owner in self.owners]
        sizes = self.shelves.sizes().numpy()[numbers]
        return make_buckets(
            np.array([self.systems[number].grid.shape_zyx[0] for number in numbers]),
            sizes,
            config.batch_size,
            weights=family_weights(
                [self.systems[number].family for number in numbers], config.family_balance, config.family_shares
            ),
            cost=sizes[:, 0] if config.even_cost else None,
            multiple=config.batch_multiple,
        )

    def _rows(self, step: int) -> list[int]:
        return bucketed_batch(self.buckets, step, self.recipe.seed).tolist()

    def maps(self, rows: Sequence[int], coarsest: float = 0.0, guided: float = 0.0) -> Stage1Batch:
        """Some maps of the shards, all of one box."""
        samples = [self.shards.sample(row) for row in rows]
        metas = [meta for _, meta in samples]
        systems = [self.system_ids.index(meta["system_id"]) for meta in metas]
        placed = None
        if self.guides:
            placed = self.guides.positions(systems, [meta["state_index"] for meta in metas])
        return Stage1Batch(
            torch.stack([torch.from_numpy(density).float() for density, _ in samples]),
            torch.tensor(systems),
            tuple(float(meta["resolution"]) for meta in metas),
            coarsest,
            placed,
            guided,
        )

    def coarsest(self, step: int) -> float:
        """Resolution (angstrom) at which a step compares maps: falls from the recipe's to the finest of any map.

        A density that lies away from its atoms pulls at them only as far as it is blurred.
        """
        config = self.recipe.stage1
        if not config.coarse_resolution:
            return 0.0
        finest = min(state.resolution for system in self.systems for state in system.states)
        return sharpening(config.coarse_resolution, finest, step / (config.coarse_share * config.steps))

    def guided(self, step: int) -> float:
        """Share of the weight of the placed models that is left: it falls to nothing, as maps have the last word."""
        config = self.recipe.stage1
        return max(0.0, 1 - step / (config.guide_share * config.steps))

    def samples(self, step: int) -> int:
        """Maps in the batch of a step."""
        return len(self._rows(step))

    def atoms(self, batch: Stage1Batch) -> int:
        """Atoms of all models of a batch."""
        return sum(self.systems[row].reference.n_atoms for row in batch.system.tolist())

    def describe(self, step: int) -> str:
        """The names of a step's maps, and which of them hold what is no number."""
        rows = sorted(set(self._rows(step)))
        bad = [self.shards.samples[row].key for row in rows if not np.isfinite(self.shards.sample(row)[0]).all()]
        found = f"not finite: {', '.join(bad)}" if bad else "all finite"
        return f"{', '.join(self.shards.samples[row].key for row in rows)} ({found})"

    def validate(self, module: nn.Module, part: int, parts: int) -> dict[str, Tensor]:
        """NCC of the maps of each system with the models of their codes' means; loss is 1 - NCC."""
        families = {system.system_id: system.family for system in self.systems}
        batches = validation_batches(self.owners, families, max(1, self.batch_size // parts))
        still = Silence(0, 0)
        sums = summed("ncc", batches, part, parts, lambda b: self.losses(module, self.maps(b.rows), still)["ncc"])
        total, count = sums["ncc"]
        return {"loss": torch.stack([count - total, count]), **sums}

    def losses(self, module: nn.Module, batch: Stage1Batch, noise: Noise) -> dict[str, Tensor]:
        """Terms of the loss, each a mean over the batch; `total` is what training minimises."""
        device = next(module.parameters()).device
        shelf = self.shelves[batch.system]
        molecule = self._as_new(shelf.molecules, noise).to(device)
        density = batch.density.to(device)
        tokens = shelf.tokens.to(device)
        code = noise.normal("code", (*tokens.mask.shape, self.recipe.model.latent_channels), device)
        displacement, mean, log_variance, residual = module(density, shelf.reference.to(device), molecule, tokens, code)
        positions = molecule.reference_xyz + displacement
        compared = tuple(max(own, batch.coarsest) for own in batch.resolution)
        wanted = blurred(density, batch.resolution, compared, shelf.grid.voxel_size)
        misfit = rendered_misfit(positions, molecule.amplitude, wanted, compared, shelf.grid)
        terms = {
            "kl": gaussian_kl(mean, log_variance, tokens.mask),
            "backbone": self._distances(positions, batch.system, self.backbone),
            "bond": self._distances(positions, batch.system, self.bond),
            "peptide": self._distances(positions, batch.system, self.peptide),
            "residue": self._distances(positions, batch.system, self.residue),
            "turning": turning_loss(displacement, molecule.residue_index, molecule.atom_mask),
            "residual": residual.square().sum(-1),
        }
        if self.stereochemistry:
            terms["stereochemistry"] = self._stereochemistry(positions, batch.system)
        weighted = [self.weights[name][batch.system].to(device) * values for name, values in terms.items()]
        total = misfit + torch.stack(weighted).sum(0)
        if batch.guide_xyz is not None:
            weight = self.weights["guide"][batch.system].to(device)
            away = guide_loss(positions, batch.guide_xyz.to(device), molecule.atom_mask)
            terms["guide"] = away * (weight > 0)
            total = total + batch.guided * weight * away
        means = {name: values.mean() for name, values in terms.items()}
        return {"total": total.mean(), "ncc": 1 - misfit.mean(), "misfit": misfit.mean(), **means}

    def _as_new(self, molecule: MoleculeBatch, noise: Noise) -> MoleculeBatch:
        """Some of the molecules, by chance, without sequence and residual, as the decoder meets a system without maps.

        Otherwise it need only know whose map it is to know the motion, and the codes say little to a new reference.
        """
        share = self.recipe.stage1.identity_dropout
        if not share:
            return molecule
        hidden = noise.uniform("identity", len(molecule.system_index)) < share
        known = torch.where(hidden, -1, molecule.system_index)
        return replace(molecule.hiding(hidden, torch.zeros_like(hidden)), system_index=known)

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        """Weights for safetensors."""
        return {name: value.detach().float().cpu().contiguous() for name, value in module.state_dict().items()}

    def _distances(self, positions: Tensor, system: Tensor, pairs: list[DistancePairs]) -> Tensor:
        """Distance loss of each model (batch,) against the pairs of its system."""
        return torch.cat(
            [
                distance_loss(positions[row : row + 1], pairs[index].to(positions.device))
                for row, index in enumerate(system.tolist())
            ]
        )

    def _stereochemistry(self, positions: Tensor, system: Tensor) -> Tensor:
        """Stereochemistry loss of each model (batch,), those of a system together; NaN if the networks diverged."""
        if not bool(torch.isfinite(positions).all()):
            return positions.sum() * torch.full_like(positions[:, 0, 0], torch.nan)
        loss = positions.new_zeros(len(positions))
        for index in system.unique().tolist():
            rows = torch.nonzero(system == index).flatten().to(positions.device)
            atoms = positions[rows, : self.systems[index].reference.n_atoms]
            tables = self.stereochemistry[index].to(positions.device)
            loss = loss.index_add(0, rows, stereochemistry_loss(atoms, tables, self.recipe.stereochemistry))
        return loss


def training_ids(systems: dict[str, System]) -> list[str]:
    """Names of the systems that training may see, sorted: the rows of the residual table."""
    return sorted(name for name, system in systems.items() if system.split == "train")


def guided_ids(recipe: Recipe, systems: dict[str, System]) -> list[str]:
    """Of `training_ids` those whose maps have models placed into them before training: the recipe weighs the way."""
    ids = training_ids(systems)
    weights = loss_weights("guide", recipe.stage1, [systems[name] for name in ids])
    return [name for name, weight in zip(ids, weights.tolist(), strict=True) if weight > 0]


def loss_weights(term: LossTerm, config: Stage1Config, systems: Sequence[System]) -> Tensor:
    """(system,) float32: weight of a term for each system, its family's own or else the recipe's."""
    common = getattr(config, f"{term}_weight")
    return torch.tensor([config.family_weights.get(system.family, {}).get(term, common) for system in systems])


def rendered_misfit(
    positions: Tensor, amplitude: Tensor, density: Tensor, resolution: Sequence[float], grid: Grid
) -> Tensor:
    """1 - NCC of each map (batch, z, y, x) with its model's density rendered at its resolution, (batch,).

    Atoms beyond COARSELY_DRAWN are drawn at that and blurred together, as the voxels of each grow by the cube.
    """
    misfit = positions.new_zeros(len(positions))
    for value in sorted(set(resolution)):
        rows = torch.tensor([row for row, other in enumerate(resolution) if other == value], device=density.device)
        drawn = min(value, COARSELY_DRAWN)
        rendered = render_gaussian(positions[rows], amplitude[rows], grid, drawn)
        rendered = blurred(rendered, [drawn] * len(rows), [value] * len(rows), grid.voxel_size)
        misfit = misfit.index_add(0, rows, 1 - ncc(rendered, density[rows]))
    return misfit


def build_vae(recipe: Recipe, systems: int) -> VAE:
    """The VAE of a recipe with `systems` residual rows."""
    return VAE(recipe.model, recipe.grid, systems, len(RESIDUE_TYPES), len(ATOM_NAMES))


def gaussian_kl(mean: Tensor, log_variance: Tensor, mask: Tensor) -> Tensor:
    """KL (nats) to the standard normal per map, the mean over the numbers of its occupied code, (batch,).

    mean, log_variance (batch, token, C); mask (batch, token) bool.
    """
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(-1)
    return (kl * mask).sum(1) / mask.sum(1)


def load_stage1(folder: Path, recipe: Recipe, systems: dict[str, System]) -> VAE:
    """The trained VAE of a finished stage 1 in evaluation mode; raises StoreError where the export is damaged."""
    vae = build_vae(recipe, len(training_ids(systems)))
    load_weights(vae, folder)
    return vae.eval()
