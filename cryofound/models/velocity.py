"""The flow's velocity: a transformer over occupied latent tokens that attends to the residues of the sequence."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cryofound.models.latent_grid import TokenGrid
from cryofound.models.layers import FourierFeatures, SequenceEncoder
from cryofound.models.molecule import MoleculeBatch


class VelocityNetwork(nn.Module):
    """x_t, time and molecule -> dx/dt over whitened latent tokens.

    latent_mean, latent_std (channel,): the whitening, stored with the weights. With `dropped`, the residues are
    replaced by one learned token, which is the unconditional field of classifier-free guidance.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, channels: int, width: int, depth: int, heads: int, residue_types: int, embedding_width: int = 0):
        super().__init__()
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_std", torch.ones(channels))
        self.sequence = SequenceEncoder(width, residue_types, embedding_width)
        self.place = nn.Sequential(FourierFeatures(8.0, 256.0, 8), nn.Linear(48, width))
        self.null = nn.Parameter(torch.zeros(width))
        self.time = nn.Sequential(
            FourierFeatures(0.02, 4.0, 32), nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.stem = nn.Linear(channels, width)
        self.blocks = nn.ModuleList([_Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def whiten(self, latent: Tensor) -> Tensor:
        """(..., channel) of the VAE -> zero mean and unit variance per channel over the training latents."""
        return (latent - self.latent_mean) / self.latent_std

    def unwhiten(self, latent: Tensor) -> Tensor:
        """The inverse of `whiten`."""
        return latent * self.latent_std + self.latent_mean

    def condition(self, molecule: MoleculeBatch) -> Tensor:
        """Residue tokens (batch, residue, width): what `SequenceEncoder` says, and where the reference has the CA."""
        return self.sequence(molecule) + self.place(molecule.residue_xyz)

    def forward(
        self, x_t: Tensor, time: Tensor, tokens: TokenGrid, residues: Tensor, residue_mask: Tensor, dropped: Tensor
    ) -> Tensor:
        """dx/dt of whitened latents, (batch, token, C), zero in padding.

        x_t (batch, token, C), time (batch,) in 0 to 1, residues (batch, residue, width) from `condition`, residue_mask
        (batch, residue) bool, dropped (batch,) bool.
        """
        residues = torch.where(dropped[:, None, None], self.null, residues)
        hidden = self.stem(x_t) + self.place(tokens.centres_xyz)
        moment = self.time(time[:, None])
        for block in self.blocks:
            hidden = block(hidden, moment, residues, tokens.mask, residue_mask)
        return self.out(self.norm(hidden)) * tokens.mask[..., None]


class _Block(nn.Module):
    """Self-attention, cross-attention to residues, MLP; each modulated by the time (adaLN-zero, arXiv 2212.09748)."""

    recomputable = True  # what it keeps for the backward pass can be had again from its inputs

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.residue_norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(width, 9 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: Tensor, moment: Tensor, residues: Tensor, mask: Tensor, residue_mask: Tensor) -> Tensor:
        parts = self.modulation(F.silu(moment))[:, None].chunk(9, dim=-1)
        normed = self.norm(hidden) * (1 + parts[0]) + parts[1]
        query, key, value = self.qkv(normed).chunk(3, dim=-1)
        hidden = hidden + parts[2] * self.self_out(self._attend(query, key, value, mask))
        normed = self.norm(hidden) * (1 + parts[3]) + parts[4]
        key, value = self.key_value(self.residue_norm(residues)).chunk(2, dim=-1)
        hidden = hidden + parts[5] * self.cross_out(self._attend(self.query(normed), key, value, residue_mask))
        normed = self.norm(hidden) * (1 + parts[6]) + parts[7]
        return hidden + parts[8] * self.mlp(normed)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        heads = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)]
        # keys and values of one molecule serve a batch of its samples
        query, key, value = (part.expand(len(query), -1, -1, -1) for part in heads)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        return out.transpose(1, 2).flatten(-2)
