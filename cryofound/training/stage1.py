"""Stage 1: one VAE over the maps of all training systems.

Loss = 1 - NCC + KL + distances kept (backbone windows, bonds, across peptides, within residues) + turning of residues +
|system residual|^2 + stereochemistry, each with its weight of the recipe: docs/decisions, 002 and 014, say why these.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cryofound.config import Recipe
from cryofound.ensemble.shards import ShardIndex, global_batch
from cryofound.ensemble.system import System
from cryofound.models.latent_grid import occupied_tokens
from cryofound.models.vae import VAE
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
from cryofound.training.molecules import molecule_batch, reference_density
from cryofound.training.noise import Noise


@dataclass(frozen=True)
class Stage1Batch:
    """density (batch, z, y, x) with the training system of each map (batch,) and its resolution in angstrom."""

    density: Tensor
    system: Tensor
    resolution: tuple[float, ...]


class Stage1:
    """The `Stage` of training/loop.py for the VAE."""

    name = "stage1"

    def __init__(self, recipe: Recipe, systems: dict[str, System], shards: ShardIndex):
        config = recipe.stage1
        self.recipe, self.shards = recipe, shards
        self.system_ids = training_ids(systems)
        self.systems = [systems[name] for name in self.system_ids]
        self.steps, self.checkpoint_every, self.log_every = config.steps, config.checkpoint_every, config.log_every
        self.batch_size = config.batch_size
        self.learning_rate, self.warmup_steps = config.learning_rate, config.warmup_steps
        self.weight_decay, self.gradient_clip = config.weight_decay, config.gradient_clip
        self.grid = self.systems[0].grid
        self.molecules = molecule_batch(self.systems, range(len(self.systems)), recipe.model.embedding_width)
        self.tokens = occupied_tokens(
            self.molecules.reference_xyz,
            self.molecules.atom_mask,
            self.grid.shape_zyx[0],
            self.grid.voxel_size,
            recipe.model.occupancy_reach,
        )
        self.reference = reference_density(
            self.molecules, self.systems, [system.states[0].resolution for system in self.systems]
        )
        self.backbone = [backbone_pairs(system.reference) for system in self.systems]
        self.bond = [bond_pairs(system.reference) for system in self.systems]
        self.peptide = [peptide_pairs(system.reference) for system in self.systems]
        self.residue = [residue_pairs(system.reference) for system in self.systems]
        wanted = self.systems if config.stereochemistry_weight else []
        self.stereochemistry = [stereochemistry(system.reference) for system in wanted]

    def module(self) -> VAE:
        """A freshly initialised VAE, the same for the same recipe and torch version."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return build_vae(self.recipe, len(self.systems))

    def batch(self, step: int, part: int, parts: int) -> Stage1Batch:
        """The maps [part::parts] of one step's batch, a pure function of recipe seed and arguments."""
        rows = global_batch(len(self.shards), self.batch_size, step, self.recipe.seed)[part::parts]
        density = torch.empty(len(rows), *self.grid.shape_zyx)
        metas = []
        for target, row in zip(density, rows.tolist(), strict=True):
            values, meta = self.shards.sample(row)
            target.copy_(torch.from_numpy(values))
            metas.append(meta)
        return Stage1Batch(
            density,
            torch.tensor([self.system_ids.index(meta["system_id"]) for meta in metas]),
            tuple(float(meta["resolution"]) for meta in metas),
        )

    def losses(self, module: nn.Module, batch: Stage1Batch, noise: Noise) -> dict[str, Tensor]:
        """Terms of the loss, each a mean over the batch; `total` is what training minimises."""
        config = self.recipe.stage1
        device = next(module.parameters()).device
        molecule = self.molecules.rows(batch.system).to(device)
        density = batch.density.to(device)
        tokens = self.tokens.rows(batch.system).to(device)
        code = noise.normal("code", (*tokens.mask.shape, self.recipe.model.latent_channels), device)
        displacement, mean, log_variance, residual = module(
            density, self.reference[batch.system].to(device), molecule, tokens, code
        )
        positions = molecule.reference_xyz + displacement
        fit = 1 - self._misfit(positions, molecule.amplitude, density, batch.resolution)
        weighted = {
            "misfit": (1.0, 1 - fit),
            "kl": (config.kl_weight, gaussian_kl(mean, log_variance, tokens.mask)),
            "backbone": (config.backbone_weight, self._distances(positions, batch.system, self.backbone)),
            "bond": (config.bond_weight, self._distances(positions, batch.system, self.bond)),
            "peptide": (config.peptide_weight, self._distances(positions, batch.system, self.peptide)),
            "residue": (config.residue_weight, self._distances(positions, batch.system, self.residue)),
            "turning": (config.turning_weight, turning_loss(displacement, molecule.residue_index, molecule.atom_mask)),
            "residual": (config.residual_weight, residual.square().sum(-1)),
        }
        if config.stereochemistry_weight:
            values = self._stereochemistry(positions, batch.system)
            weighted["stereochemistry"] = (config.stereochemistry_weight, values)
        terms = {name: values.mean() for name, (_, values) in weighted.items()}
        total = torch.stack([weight * terms[name] for name, (weight, _) in weighted.items()]).sum()
        return {"total": total, "ncc": fit.mean(), **terms}

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        """Weights for safetensors."""
        return {name: value.detach().float().cpu().contiguous() for name, value in module.state_dict().items()}

    def _misfit(self, positions: Tensor, amplitude: Tensor, density: Tensor, resolution: tuple[float, ...]) -> Tensor:
        """1 - NCC of each map with the density rendered at its own resolution, (batch,)."""
        if len(set(resolution)) == 1:
            return 1 - ncc(render_gaussian(positions, amplitude, self.grid, resolution[0]), density)
        misfit = positions.new_zeros(len(positions))
        for value in sorted(set(resolution)):
            rows = torch.tensor([row for row, other in enumerate(resolution) if other == value], device=density.device)
            rendered = render_gaussian(positions[rows], amplitude[rows], self.grid, value)
            misfit = misfit.index_add(0, rows, 1 - ncc(rendered, density[rows]))
        return misfit

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
