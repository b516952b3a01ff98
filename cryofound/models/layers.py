"""Blocks that the networks share."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cryofound.models.molecule import BLOSUM_FEATURES, GEOMETRY_FEATURES, MoleculeBatch

# Values that a convolution gathers at once; on the CPU a piece that stays in the cache is ten times as fast as all.
GATHERED = {"cpu": 2**17, "cuda": 2**27}


class FourierFeatures(nn.Module):
    """Sines and cosines of each coordinate at geometric wavelengths: (..., n) -> (..., n * 2 * bands).

    shortest, longest: wavelengths in the unit of the input.
    """

    wavelengths: Tensor

    def __init__(self, shortest: float, longest: float, bands: int):
        super().__init__()
        steps = torch.linspace(0, 1, bands)
        self.register_buffer("wavelengths", shortest * (longest / shortest) ** steps, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """values (..., n) -> (..., n * 2 * bands): sines, then cosines of each coordinate."""
        phase = 2 * math.pi * values[..., None] / self.wavelengths
        return torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(-2)


class TokenConvNeXt(nn.Module):
    """Depthwise 3x3x3 over neighbouring tokens, layer norm, pointwise MLP, residual; optional FiLM condition.

    A ConvNeXt block (Liu 2022, arXiv 2201.03545) on the occupied voxels only. Tokens have zeros in padding, which is
    kept at zero; neighbours (batch, token, 27) are rows of the token list as in `TokenGrid`.
    """

    recomputable = True  # what it keeps for the backward pass can be had again from its inputs

    def __init__(self, width: int, condition_width: int = 0):
        super().__init__()
        self.depthwise = nn.Parameter(torch.randn(27, width) * 27**-0.5)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.film = nn.Linear(condition_width, 2 * width) if condition_width else None
        nn.init.zeros_(self.contract.bias)
        with torch.no_grad():
            self.contract.weight.mul_(0.1)
            if self.film is not None:
                self.film.weight.mul_(0.1)
                self.film.bias.zero_()

    def forward(self, tokens: Tensor, neighbours: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """tokens (batch, token, channel), mask (batch, token) bool, condition (batch, c) -> as tokens."""
        hidden = self.norm(depthwise_tokens(tokens, neighbours, self.depthwise))
        if self.film is not None and condition is not None:
            scale, shift = self.film(condition)[:, None].chunk(2, dim=-1)
            hidden = hidden * (1 + scale) + shift
        return tokens + self.contract(F.gelu(self.expand(hidden))) * mask[..., None]


def depthwise_tokens(tokens: Tensor, neighbours: Tensor, weight: Tensor) -> Tensor:
    """Depthwise convolution over the table of neighbours, in the memory of its result.

    tokens (batch, token, c), neighbours (batch, token, k) rows of the token list (the number of tokens: none), weight
    (k, c) -> (batch, token, c). The table must be symmetric, as that of a `TokenGrid` is: where j is neighbour n of i,
    i is neighbour k - 1 - n of j.
    """
    return _Depthwise.apply(tokens, neighbours, weight)


class _Depthwise(torch.autograd.Function):
    """Autograd would keep k values for every token, and scatter as many; over a symmetric table both passes gather."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, neighbours: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(tokens, neighbours, weight)
        out = tokens.new_empty(tokens.shape, dtype=torch.result_type(tokens, weight))
        for rows, gathered in _gathered(tokens, neighbours):
            out.view(-1, tokens.shape[2])[rows] = (gathered * weight).sum(1)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, Tensor]:
        tokens, neighbours, weight = ctx.saved_tensors
        gradient, mirrored = grad_outputs[0].contiguous(), weight.flip(0)
        of_tokens, of_weight = torch.empty_like(tokens), torch.zeros_like(weight)
        for rows, gathered in _gathered(gradient, neighbours):
            of_tokens.view(-1, tokens.shape[2])[rows] = (gathered * mirrored).sum(1).to(tokens.dtype)
        for rows, gathered in _gathered(tokens, neighbours):
            of_weight += (gathered * gradient.view(-1, 1, tokens.shape[2])[rows]).sum(0)
        return of_tokens, None, of_weight


def _gathered(tokens: Tensor, neighbours: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Piece by piece of the flattened batch: its rows, and their neighbours' values (row, k, c), zero where none."""
    batch, count, width = tokens.shape
    padded = F.pad(tokens, (0, 0, 0, 1)).flatten(0, 1)
    flat = (neighbours + torch.arange(batch, device=tokens.device)[:, None, None] * (count + 1)).flatten(0, 1)
    step = max(1, GATHERED.get(tokens.device.type, GATHERED["cuda"]) // (width * flat.shape[1]))
    for start in range(0, len(flat), step):
        rows = slice(start, start + step)
        yield rows, F.embedding(flat[rows], padded)


class SequenceEncoder(nn.Module):
    """Residue tokens from what a residue is and how the reference is shaped around it.

    What it is: type (a learned embedding, and BLOSUM62 for those not met at this place), place in the family (in
    residues of its anchor, so homologous residues of relatives get like tokens) and a predictor's embedding of
    `embedding_width` numbers, or a learned token where there is none; 0 is a network that sees no embeddings.
    """

    def __init__(self, width: int, residue_types: int, embedding_width: int = 0, depth: int = 2):
        super().__init__()
        self.residue_type = nn.Embedding(residue_types, width)
        self.blosum = nn.Linear(BLOSUM_FEATURES, width, bias=False)
        self.position = nn.Sequential(FourierFeatures(8.0, 2048.0, 12), nn.Linear(24, width))
        self.embedding = None
        if embedding_width:
            # predictors' embeddings come at any scale
            self.embedding = nn.Sequential(nn.LayerNorm(embedding_width), nn.Linear(embedding_width, width))
            self.no_embedding = nn.Parameter(torch.zeros(width))
        self.geometry = nn.Linear(GEOMETRY_FEATURES, width)
        self.no_identity, self.no_geometry = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.convolutions = nn.ModuleList([nn.Conv1d(width, width, 5, padding=2) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(depth)])

    def forward(self, molecule: MoleculeBatch) -> Tensor:
        """(batch, residue, width), padding zero."""
        mask = molecule.residue_mask[..., None].to(molecule.residue_geometry.dtype)
        identity = self.residue_type(molecule.residue_type) + self.blosum(molecule.blosum)
        identity = identity + self.position(molecule.family_position[..., None])
        if self.embedding is not None:
            embedded = self.embedding(molecule.embedding)
            identity = identity + torch.where(molecule.embedding_mask[..., None], embedded, self.no_embedding)
        geometry = self.geometry(molecule.residue_geometry)
        identity = torch.where(molecule.hide_identity[:, None, None], self.no_identity, identity)
        geometry = torch.where(molecule.hide_geometry[:, None, None], self.no_geometry, geometry)
        tokens = (identity + geometry) * mask
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            update = convolution(norm(tokens).mul(mask).movedim(1, 2)).movedim(1, 2)
            tokens = (tokens + F.gelu(update)) * mask
        return tokens
