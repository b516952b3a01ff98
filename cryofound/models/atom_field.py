"""Displacement of every atom from the features around it and from what it is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cryofound.models.latent_grid import CHILDREN, STRIDE, TokenGrid
from cryofound.models.molecule import MoleculeBatch

ATOM_WIDTH = 32  # atoms are ten times as many as residues, and their corrections small


def sample_children(children: Tensor, tokens: TokenGrid, points_xyz: Tensor, voxel_size: float) -> Tensor:
    """Trilinear samples of the feature grid, read only at the eight grid points around each point.

    children (batch, 8 * token, c) in CHILDREN order; points_xyz (batch, point, 3) angstrom on the centred grid of
    `voxel_size`. Returns (batch, point, c). Unoccupied grid points count as zero; `occupied_tokens` sees to it that
    there is none around an atom. Points beyond the outermost grid points take the values at the edge.
    """
    size, spacing = 2 * tokens.edge, voxel_size * STRIDE / 2
    place = (points_xyz / spacing + 0.5 * (size - 1)).clamp(0, size - 1)
    low = place.floor().clamp_max(size - 2)
    fraction = place - low
    steps = torch.tensor([(x, y, z) for z, y, x in CHILDREN], device=low.device)
    corner = low.long()[:, :, None] + steps
    share = torch.where(steps.bool(), fraction[:, :, None], 1 - fraction[:, :, None]).prod(-1)
    row = tokens.lookup().gather(1, _flat(corner // 2, tokens.edge).flatten(1)).view(share.shape)
    occupied = row < tokens.mask.shape[1]
    row = torch.where(occupied, row * 8 + _flat(corner % 2, 2), 0)
    start = torch.arange(len(row), device=row.device)[:, None, None] * children.shape[1]
    return (F.embedding(row + start, children.flatten(0, 1)) * (share * occupied)[..., None]).sum(2)


def _flat(place_xyz: Tensor, edge: int) -> Tensor:
    """Flattened (z, y, x) index of integer xyz places (..., 3) on a cubic grid."""
    x, y, z = place_xyz.unbind(-1)
    return (z * edge + y) * edge + x


class AtomField(nn.Module):
    """Features at the residues plus chemistry -> displacement of every atom; zero at initialisation.

    Each residue moves as a rigid body about its CA (shift and rotation vector) and each of its atoms by a correction of
    its own. Density at the resolutions of a map series fixes where a residue goes far better than how its atoms sit in
    it, so the rigid part is the easy thing to say and leaves the residue's geometry as it was. On top of that, groups
    of residues turn and shift together, level by level: what many residues share is easier still to say, and a domain
    finds its density from much farther away than its residues do one by one.
    """

    def __init__(
        self,
        feature_channels: int,
        token_width: int,
        width: int,
        atom_names: int,
        groups: Sequence[int] = (),
        depth: int = 2,
    ):
        super().__init__()
        self.features = nn.Linear(feature_channels, width)
        self.chemistry = nn.Linear(token_width, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(depth + 1)])
        self.rigid = nn.Linear(width, 6)
        self.of_residue = nn.Linear(width, ATOM_WIDTH)
        self.atom_name = nn.Embedding(atom_names, ATOM_WIDTH)
        self.correction = nn.Linear(ATOM_WIDTH, 3)
        self.groups = nn.ModuleList([GroupMotion(width) for _ in groups])
        self.levels = tuple(groups)
        for layer in (self.rigid, self.correction):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, sampled: Tensor, residue_tokens: Tensor, molecule: MoleculeBatch) -> Tensor:
        """sampled (batch, residue, feature) at the CA atoms, residue_tokens (batch, residue, token).

        Returns (batch, atom, 3) angstrom.
        """
        hidden = F.silu(self.features(sampled) + self.chemistry(residue_tokens))
        for layer, norm in zip(self.hidden, self.norms[:-1], strict=True):
            hidden = hidden + F.silu(layer(norm(hidden)))
        hidden = self.norms[-1](hidden)
        # positions are told in fp32 whatever the networks compute in
        rigid = self.rigid(hidden).to(molecule.reference_xyz.dtype)
        shift, rotation = rigid.chunk(2, dim=-1)
        arm = molecule.reference_xyz - of_atoms(molecule.residue_xyz, molecule.residue_index)
        atom = F.silu(of_atoms(self.of_residue(hidden), molecule.residue_index) + self.atom_name(molecule.atom_name))
        # radians are large beside angstroms: a tenth keeps both parts at like scale
        moved = rotated(arm, 0.1 * of_atoms(rotation, molecule.residue_index))
        moved = moved + 0.1 * self.correction(atom).to(moved.dtype)
        shares = molecule.group_share.split(self.levels, dim=2) if self.levels else ()
        for motion, share in zip(reversed(self.groups), reversed(shares), strict=True):
            further, turn = motion(hidden, molecule.residue_xyz + shift, share)
            shift = shift + further
            moved = rotated(moved, of_atoms(turn, molecule.residue_index))
        return of_atoms(shift, molecule.residue_index) + moved - arm


class GroupMotion(nn.Module):
    """The groups of one level, each turned and shifted as its residues' features say; zero at initialisation.

    A residue goes where its groups take it, by its shares in them (linear blend skinning, Magnenat-Thalmann 1988), and
    turns by the mean of their rotation vectors, so that it stays rigid between two groups as well.
    """

    def __init__(self, width: int):
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.rigid = nn.Linear(width, 6)
        nn.init.zeros_(self.rigid.weight)
        nn.init.zeros_(self.rigid.bias)

    def forward(self, hidden: Tensor, residues_xyz: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """hidden (batch, residue, width), residues_xyz (batch, residue, 3), share (batch, residue, group).

        Returns the shift in angstrom and the rotation vector in radians of each residue, both (batch, residue, 3).
        """
        mean = (share / share.sum(1, keepdim=True).clamp_min(1e-6)).transpose(1, 2)
        pooled = mean.to(hidden.dtype) @ hidden
        rigid = self.rigid(pooled + F.silu(self.hidden(pooled))).to(residues_xyz.dtype)
        shift, turn = (0.2 * rigid).chunk(2, dim=-1)  # what moves many residues does so in small steps
        turn = 0.05 * turn  # a group's ends are far from its middle
        centre = mean @ residues_xyz
        axes = torch.eye(3, dtype=turn.dtype, device=turn.device).expand(*turn.shape[:2], 3, 3)
        change = rotated(axes, turn[:, :, None]) - axes  # row i: what the turn adds to axis i
        blended = (share @ change.flatten(2)).unflatten(2, (3, 3))
        about = shift - (centre[:, :, None] @ change)[:, :, 0]
        return (residues_xyz[:, :, None] @ blended)[:, :, 0] + share @ about, share @ turn


def of_atoms(values: Tensor, residue_index: Tensor) -> Tensor:
    """Residue values (batch, residue, c) at the atoms (batch, atom) -> (batch, atom, c)."""
    return values.gather(1, residue_index[..., None].expand(-1, -1, values.shape[-1]))


def rotated(vector: Tensor, rotation: Tensor) -> Tensor:
    """Vectors (..., 3) turned by rotation vectors (..., 3) in radians (Rodrigues' formula, smooth at zero)."""
    angle = (rotation.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    once = torch.linalg.cross(rotation, vector)
    twice = torch.linalg.cross(rotation, once)
    return vector + torch.sinc(angle / torch.pi) * once + 0.5 * torch.sinc(angle / (2 * torch.pi)).square() * twice
