"""The shared 3D VAE: map -> latent tokens -> feature grid -> displacement of the reference's atoms."""

import torch
from torch import Tensor, nn

from cryofound.config import GridConfig, ModelConfig
from cryofound.models.atom_field import AtomField, sample_children
from cryofound.models.latent_grid import STRIDE, TokenGrid, occupied_tokens
from cryofound.models.layers import SequenceEncoder, TokenConvNeXt
from cryofound.models.molecule import MoleculeBatch
from cryofound.models.symmetry import symmetrised

PIECE = 2**18  # voxels at a time, where a whole map would leave the cache


class Encoder(nn.Module):
    """Map beside the reference's density -> posterior over the occupied latent voxels.

    Seeing the reference's density, the code need only say what differs, which relatives share.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.encoder_width
        self.stem = nn.Linear(2 * STRIDE**3, width)
        self.blocks = nn.ModuleList([TokenConvNeXt(width) for _ in range(config.encoder_depth)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 2 * config.latent_channels)

    def forward(self, density: Tensor, reference_density: Tensor, tokens: TokenGrid) -> tuple[Tensor, Tensor]:
        """density, reference_density (batch, z, y, x) of any scale -> mean and log variance (batch, token, C)."""
        patches = [standardised_patches(values, tokens) for values in (density, reference_density)]
        hidden = self.stem(torch.cat(patches, dim=-1)) * tokens.mask[..., None]
        for block in self.blocks:
            hidden = block(hidden, tokens.neighbours, tokens.mask)
        mean, log_variance = self.out(self.norm(hidden)).chunk(2, dim=-1)
        # a narrow posterior to start with: the decoder learns from the code before it learns from its noise
        return mean, (log_variance - 4.0).clamp(-14.0, 6.0)


class Decoder(nn.Module):
    """Latent tokens, system vector and reference -> displacement; the feature grid is read at the residues only."""

    def __init__(self, model: ModelConfig, grid: GridConfig, residue_types: int, atom_names: int):
        super().__init__()
        width, features, vector = model.decoder_width, model.feature_channels, model.system_residual_width
        self.voxel_size = grid.voxel_size
        self.residue_tokens = SequenceEncoder(model.token_width, residue_types, model.embedding_width)
        self.system_vector = nn.Linear(model.token_width, vector)
        self.stem = nn.Linear(model.latent_channels, width)
        self.blocks = nn.ModuleList([TokenConvNeXt(width, vector) for _ in range(model.decoder_depth)])
        self.upsample = nn.Linear(width, 8 * features)
        self.fine = TokenConvNeXt(features, vector)
        self.atom_field = AtomField(features, model.token_width, model.atom_field_width, atom_names, model.groups)

    def child_features(self, latent: Tensor, condition: Tensor, tokens: TokenGrid) -> Tensor:
        """Features on the grid of half the latent spacing.

        latent (batch, token, C), condition (batch, vector) -> (batch, 8 * token, feature) in CHILDREN order.
        """
        mask = tokens.mask[..., None]
        hidden = self.stem(latent) * mask
        for block in self.blocks:
            hidden = block(hidden, tokens.neighbours, tokens.mask, condition)
        children = (self.upsample(hidden) * mask).unflatten(2, (8, -1)).flatten(1, 2)
        return self.fine(children, tokens.child_neighbours(), tokens.mask.repeat_interleave(8, dim=1), condition)

    def forward(self, latent: Tensor, residual: Tensor, molecule: MoleculeBatch, tokens: TokenGrid) -> Tensor:
        """latent (batch, token, C), residual (batch, vector) -> displacement (batch, atom, 3) angstrom."""
        residues = self.residue_tokens(molecule)
        present = molecule.residue_mask[..., None].float()
        condition = self.system_vector((residues * present).sum(1) / present.sum(1)) + residual
        children = self.child_features(latent, condition, tokens)
        sampled = sample_children(children, tokens, molecule.residue_xyz, self.voxel_size)
        displacement = self.atom_field(sampled, residues, molecule) * molecule.atom_mask[..., None]
        return symmetrised(displacement, molecule.symmetry_atoms, molecule.symmetry_rotation)


class VAE(nn.Module):
    """Encoder, decoder and one short residual vector per training system (zero for any other)."""

    def __init__(self, model: ModelConfig, grid: GridConfig, systems: int, residue_types: int, atom_names: int):
        super().__init__()
        self.voxel_size, self.reach = grid.voxel_size, model.occupancy_reach
        self.encoder = Encoder(model)
        self.decoder = Decoder(model, grid, residue_types, atom_names)
        self.system_residual = nn.Embedding(systems, model.system_residual_width)
        nn.init.zeros_(self.system_residual.weight)

    def tokens(self, molecule: MoleculeBatch, box_size: int) -> TokenGrid:
        """The latent voxels that carry a code for each reference, all in boxes of `box_size` voxels per edge.

        Raises ValueError for a reach that is too short.
        """
        return occupied_tokens(molecule.reference_xyz, molecule.atom_mask, box_size, self.voxel_size, self.reach)

    def residuals(self, molecule: MoleculeBatch) -> Tensor:
        """(batch, vector) system residuals; zero where system_index is -1."""
        known = (molecule.system_index >= 0)[:, None]
        return self.system_residual(molecule.system_index.clamp_min(0)) * known

    def encode(self, density: Tensor, reference_density: Tensor, tokens: TokenGrid) -> tuple[Tensor, Tensor]:
        """density, reference_density (batch, z, y, x) -> posterior_mean, posterior_log_variance (batch, token, C)."""
        return self.encoder(density, reference_density, tokens)

    def decode(self, latent: Tensor, molecule: MoleculeBatch, tokens: TokenGrid) -> Tensor:
        """latent (batch, token, C) -> displacement (batch, atom, 3) angstrom."""
        return self.decoder(latent, self.residuals(molecule), molecule, tokens)

    def forward(
        self,
        density: Tensor,
        reference_density: Tensor,
        molecule: MoleculeBatch,
        tokens: TokenGrid,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One training pass with the code sampled by `noise` (batch, token, C), standard normal.

        Returns displacement (batch, atom, 3), posterior_mean, posterior_log_variance (batch, token, C) and residual
        (batch, vector).
        """
        mean, log_variance = self.encode(density, reference_density, tokens)
        latent = mean + noise * (0.5 * log_variance).exp()
        return self.decode(latent, molecule, tokens), mean, log_variance, self.residuals(molecule)


def standardised_patches(density: Tensor, tokens: TokenGrid) -> Tensor:
    """The STRIDE^3 voxels of each occupied cell of the standardised density, (batch, token, STRIDE^3)."""
    edge = tokens.edge
    cells = density.view(-1, edge, STRIDE, edge, STRIDE, edge, STRIDE)
    batch = torch.arange(len(density), device=density.device)[:, None]
    z, y, x = tokens.index // edge**2, tokens.index // edge % edge, tokens.index % edge
    patches = cells[batch, z, :, y, :, x].flatten(2)
    # in pieces: torch.std takes ten times as long, and its two-pass form over the batch a copy of the batch
    mean = density.mean(dim=(1, 2, 3))
    squares = [
        torch.stack([(piece - middle).square().sum() for piece in values.flatten().split(PIECE)]).sum()
        for values, middle in zip(density, mean, strict=True)
    ]
    std = (torch.stack(squares) / (density[0].numel() - 1)).sqrt()
    return (patches - mean[:, None, None]) / std.clamp_min(1e-6)[:, None, None]
