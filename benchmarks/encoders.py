"""Designs of the map encoder side by side: time of a stage-1 step, and what they reconstruct after a short training.

Three calmodulins train (two end states each), 1UP5 is left out and reconstructed from its maps with residual zero. The
proteins of the calmodulin benchmark are not touched. `python -m benchmarks.encoders --data DATA` prints the table that
docs/decisions/010-encoder.md quotes.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.baseline import Block
from cryofound.catalog.entry import load_entry
from cryofound.config import ModelConfig, Recipe, load_recipe
from cryofound.ensemble.shards import ShardIndex, shard_key, write_shard
from cryofound.ensemble.system import System
from cryofound.maps.density_map import Grid
from cryofound.models.latent_grid import CHILDREN, STRIDE, TokenGrid
from cryofound.models.layers import TokenConvNeXt
from cryofound.models.vae import VAE, Encoder, standardised_patches
from cryofound.training.molecules import molecule_batch, reference_density
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1
from data_pipeline.stages import build_system

ROOT = Path(__file__).resolve().parents[1]
TRAINED, LEFT_OUT = ("1EXR", "1RFJ", "1CLM"), "1UP5"
STEPS, SEEDS, WARMUP = 150, (0, 1), 20


class WithoutReference(Encoder):
    """Today's encoder that is shown nothing of the reference."""

    def forward(self, density: Tensor, reference_density: Tensor, tokens: TokenGrid) -> tuple[Tensor, Tensor]:
        """As `Encoder.forward`."""
        return super().forward(density, torch.zeros_like(reference_density), tokens)


class Merged(Encoder):
    """Patches of 4^3 voxels, a block at half the latent spacing, then eight of them merged into a token."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        width = config.encoder_width // 2
        self.small_stem = nn.Linear(2 * STRIDE**3 // 8, width)
        self.small_block = TokenConvNeXt(width)
        self.stem = nn.Linear(8 * width, config.encoder_width)

    def forward(self, density: Tensor, reference_density: Tensor, tokens: TokenGrid) -> tuple[Tensor, Tensor]:
        """As `Encoder.forward`."""
        half = STRIDE // 2
        patches = torch.stack([standardised_patches(values, tokens) for values in (density, reference_density)], dim=2)
        small = patches.unflatten(3, (2, half, 2, half, 2, half)).permute(0, 1, 3, 5, 7, 2, 4, 6, 8)
        mask = tokens.mask.repeat_interleave(len(CHILDREN), dim=1)
        children = self.small_stem(small.flatten(5).flatten(1, 4)) * mask[..., None]
        children = self.small_block(children, tokens.child_neighbours(), mask)
        hidden = self.stem(children.unflatten(1, (-1, len(CHILDREN))).flatten(2)) * tokens.mask[..., None]
        for block in self.blocks:
            hidden = block(hidden, tokens.neighbours, tokens.mask)
        mean, log_variance = self.out(self.norm(hidden)).chunk(2, dim=-1)
        return mean, (log_variance - 4.0).clamp(-14.0, 6.0)


class Dense(nn.Module):
    """A ConvNeXt on the whole box, read at the tokens."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.encoder_width
        self.layers = nn.Sequential(
            nn.Conv3d(2, width // 2, 4, stride=4),
            Block(width // 2),
            nn.Conv3d(width // 2, width, 2, stride=2),
            *(Block(width) for _ in range(config.encoder_depth)),
            nn.Conv3d(width, 2 * config.latent_channels, 1),
        )

    def forward(self, density: Tensor, reference_density: Tensor, tokens: TokenGrid) -> tuple[Tensor, Tensor]:
        """As `Encoder.forward`."""
        both = torch.stack([density, reference_density], dim=1)
        std, middle = torch.std_mean(both, dim=(2, 3, 4), keepdim=True)
        grid = self.layers((both - middle) / std).flatten(2).movedim(1, 2)
        mean, log_variance = grid.gather(1, tokens.index[..., None].expand(-1, -1, grid.shape[2])).chunk(2, dim=-1)
        return mean, (log_variance - 4.0).clamp(-14.0, 6.0)


DESIGNS: dict[str, Callable[[ModelConfig], nn.Module]] = {
    "patches of 8^3 (the product)": Encoder,
    "without the reference": WithoutReference,
    "patches of 4^3, merged": Merged,
    "dense ConvNeXt": Dense,
    "twice as wide": lambda config: Encoder(config.model_copy(update={"encoder_width": 2 * config.encoder_width})),
    "twice as deep": lambda config: Encoder(config.model_copy(update={"encoder_depth": 2 * config.encoder_depth})),
}


def compare(data: Path, steps: int = STEPS) -> dict[str, dict[str, float]]:
    """Per design, means over SEEDS: CPU seconds of a step, final misfit, RMSD in angstrom of trained and left-out."""
    os.environ["CRYOFOUND_MIRROR"] = str(data / "calmodulin" / "seed")
    recipe = load_recipe(ROOT / "configs/benchmark/calmodulin.yaml")
    changes = {"steps": steps, "batch_size": 2 * len(TRAINED)}
    recipe = recipe.model_copy(update={"stage1": recipe.stage1.model_copy(update=changes)})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        stage, left_out = _stage(recipe, Path(folder))
        rows = {name: [_trial(stage, left_out, design, seed) for seed in SEEDS] for name, design in DESIGNS.items()}
    return {name: {key: float(np.mean([row[key] for row in each])) for key in each[0]} for name, each in rows.items()}


def _stage(recipe: Recipe, folder: Path) -> tuple[Stage1, tuple[System, Tensor]]:
    """Stage 1 of the trained calmodulins, and the one left out with its maps (state, z, y, x)."""
    grid = Grid.centred(recipe.grid.box_sizes[-1], recipe.grid.voxel_size)
    entries = {
        name: load_entry(ROOT / f"configs/catalog/calmodulin/{name.lower()}.yaml") for name in (*TRAINED, LEFT_OUT)
    }
    built = {name: build_system(entry, entries[TRAINED[0]], grid, folder) for name, entry in entries.items()}
    samples = [
        (shard_key(name, state.state_id), built[name][1][row], {"system_id": name, "resolution": state.resolution})
        for name in TRAINED
        for row, state in enumerate(built[name][0].states)
    ]
    write_shard(folder / "train-000000.tar", samples)
    stage = Stage1(recipe, {name: built[name][0] for name in TRAINED}, ShardIndex.open(folder))
    system, maps = built[LEFT_OUT]
    return stage, (system, torch.from_numpy(maps))


def _trial(
    stage: Stage1, left_out: tuple[System, Tensor], design: Callable[[ModelConfig], nn.Module], seed: int
) -> dict[str, float]:
    torch.manual_seed(seed)
    vae = stage.module()
    vae.register_module("encoder", design(stage.recipe.model))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay)
    seconds, misfit = [], math.nan
    for step in range(stage.steps):
        rate = min((step + 1) / WARMUP, 0.5 * (1 + math.cos(math.pi * step / stage.steps)))
        optimizer.param_groups[0]["lr"] = stage.learning_rate * rate
        batch = stage.batch(step, 0, 1)
        began = time.process_time()
        losses = stage.losses(vae, batch, Noise(seed, step))
        optimizer.zero_grad()
        losses["total"].backward()
        nn.utils.clip_grad_norm_(vae.parameters(), stage.gradient_clip)
        optimizer.step()
        seconds.append(time.process_time() - began)
        misfit = losses["misfit"].item()
    batch = stage.batch(0, 0, 1)
    trained = [_rmsd(vae, system, batch.density[batch.system == row], row) for row, system in enumerate(stage.systems)]
    return {
        "seconds": float(np.median(seconds)),
        "misfit": misfit,
        "trained_rmsd": float(np.mean(trained)),
        "left_out_rmsd": _rmsd(vae, *left_out, -1),
    }


@torch.no_grad()
def _rmsd(vae: VAE, system: System, maps: Tensor, row: int) -> float:
    """Mean over the maps (state, z, y, x) of the RMSD in angstrom of what each is decoded to from its nearest state."""
    molecule = molecule_batch([system] * len(maps), [row] * len(maps), config=ModelConfig())
    reference = reference_density(molecule, [system] * len(maps), [system.states[0].resolution] * len(maps))
    tokens = vae.tokens(molecule, system.grid.shape_zyx[0])
    mean, _ = vae.encode(maps, reference, tokens)
    decoded = molecule.reference_xyz + vae.decode(mean, molecule, tokens)
    difference = decoded[:, None] - torch.from_numpy(system.truth_xyz)
    return difference.square().sum(-1).mean(-1).sqrt().amin(1).mean().item()


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders", description="Compare encoders.")
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    table = Table(title=f"Encoders after {given.steps} steps")
    for column in ("design", "CPU s/step", "misfit", "trained RMSD", "left-out RMSD"):
        table.add_column(column, justify="left" if column == "design" else "right")
    for name, row in compare(given.data, given.steps).items():
        table.add_row(name, *(f"{value:.3g}" for value in row.values()))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
