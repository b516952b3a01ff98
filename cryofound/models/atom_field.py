"""Displacement of every atom from the features around it and from what it is."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cryofound.models.latent_grid import CHILDREN, TokenGrid
from cryofound.models.molecule import MoleculeBatch


def corner_features(
    children: Tensor, tokens: TokenGrid, weight: Tensor, bias: Tensor, reference_xyz: Tensor, voxel_size: float
) -> Tensor:
    """Trilinear samples of the full-resolution feature grid, computed only at the eight corners around each atom.

    Equal to a transposed convolution (kernel = stride = k) of the children's grid followed by trilinear sampling: each
    fine voxel has one parent, so its features are one matrix (that of its place within the parent) times the parent's.
    children (batch, 8 * token, c_in) in CHILDREN order; weight (k^3, c_in, c_out) by place (z, y, x); bias (c_out,);
    reference_xyz (batch, atom, 3) angstrom on the centred grid of `voxel_size`. Returns (batch, atom, c_out).
    """
    batch, atoms = reference_xyz.shape[:2]
    kernel = round(len(weight) ** (1 / 3))
    size = tokens.edge * 2 * kernel
    fine = (reference_xyz / voxel_size + 0.5 * (size - 1)).clamp(0, size - 1.001)
    low = fine.floor()
    fraction = fine - low
    steps = torch.tensor([(x, y, z) for z, y, x in CHILDREN], device=low.device)
    corner = low.long()[:, :, None] + steps
    share = torch.where(steps.bool(), fraction[:, :, None], 1 - fraction[:, :, None]).prod(-1)
    cell, half, inner = corner // (2 * kernel), corner // kernel % 2, corner % kernel
    row = tokens.lookup().gather(1, _flat(cell, tokens.edge).flatten(1)).view_as(share.long())
    row = row * 8 + _flat(half, 2)
    start = torch.arange(batch, device=row.device)[:, None, None] * children.shape[1]
    # padding atoms may fall in unoccupied cells; they read any row, and what they become is masked
    source = (row.clamp_max(children.shape[1] - 1) + start).flatten()
    place = _flat(inner, kernel).flatten()
    # corners grouped by their place within the parent: one matrix product per place
    order = torch.argsort(place, stable=True)
    counts = torch.bincount(place, minlength=kernel**3).tolist()
    gathered = F.embedding(source[order], children.flatten(0, 1)) * share.flatten()[order, None]
    products = torch.cat([part @ matrix for part, matrix in zip(gathered.split(counts), weight, strict=True)])
    sampled = products.new_zeros(batch * atoms, products.shape[1]).index_add(0, order // 8, products)
    return sampled.view(batch, atoms, -1) + bias


def _flat(place_xyz: Tensor, edge: int) -> Tensor:
    """Flattened (z, y, x) index of integer xyz places (..., 3) on a cubic grid."""
    x, y, z = place_xyz.unbind(-1)
    return (z * edge + y) * edge + x


class AtomField(nn.Module):
    """Features at the atoms plus chemistry -> displacement, (batch, atom, 3) angstrom; zero at initialisation."""

    def __init__(self, feature_channels: int, token_width: int, width: int, atom_names: int, depth: int = 2):
        super().__init__()
        self.atom_name = nn.Embedding(atom_names, token_width)
        self.features = nn.Linear(feature_channels, width)
        self.chemistry = nn.Linear(token_width, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.out = nn.Linear(width, 3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, sampled: Tensor, residue_tokens: Tensor, molecule: MoleculeBatch) -> Tensor:
        """sampled (batch, atom, feature), residue_tokens (batch, residue, token)."""
        index = molecule.residue_index[..., None].expand(-1, -1, residue_tokens.shape[-1])
        token = residue_tokens.gather(1, index) + self.atom_name(molecule.atom_name)
        hidden = F.silu(self.features(sampled) + self.chemistry(token))
        for layer in self.hidden:
            hidden = hidden + F.silu(layer(hidden))
        return self.out(hidden)
