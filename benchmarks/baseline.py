"""The paper's stage-1 step as one would first write it, to compare ours with (arXiv 2605.09832, DESIGN.md section 4).

Dense networks on the whole box with the widths and depths of our recipe, a feature grid at full resolution sampled at
every atom, density from a window of voxels around each atom, backbone windows one by one, clashes over all pairs, and
plain autograd throughout. Nothing in it is slow on purpose.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cryofound.config import ModelConfig, Recipe
from cryofound.maps.density_map import Grid
from cryofound.physics.correlation import ncc
from cryofound.physics.density import gaussian_sigma
from cryofound.physics.geometry import WINDOW, bonded_to_next
from cryofound.physics.ramachandran import ramachandran_excess, ramachandran_residues
from cryofound.physics.rotamers import rotamer_excess, rotamer_residues
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1Batch

RADII = {"C": 1.70, "N": 1.55, "O": 1.52, "S": 1.80, "P": 1.80, "SE": 1.90, "X": 1.70}  # angstrom (Bondi 1964)
CUTOFF = 4.5  # sigmas; where our forward model leaves a carbon out
ALLOWED_OVERLAP = 0.4  # angstrom


class Block(nn.Module):
    """A ConvNeXt block (arXiv 2201.03545) on a dense grid, with the kernel and expansion of our token blocks."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)

    def forward(self, grid: Tensor) -> Tensor:
        """(batch, c, z, y, x) -> the same shape."""
        hidden = self.norm(self.depthwise(grid).movedim(1, -1))
        return grid + self.contract(F.gelu(self.expand(hidden))).movedim(-1, 1)


class DenseVAE(nn.Module):
    """Map -> latent grid at 1/8 -> feature grid at full resolution -> displacement of every atom."""

    def __init__(self, model: ModelConfig):
        super().__init__()
        width, features = model.encoder_width, model.feature_channels
        self.encoder = nn.Sequential(
            nn.Conv3d(1, width // 2, 4, stride=4),
            Block(width // 2),
            nn.Conv3d(width // 2, width, 2, stride=2),
            *(Block(width) for _ in range(model.encoder_depth)),
            nn.Conv3d(width, 2 * model.latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv3d(model.latent_channels, model.decoder_width, 1),
            *(Block(model.decoder_width) for _ in range(model.decoder_depth)),
            nn.ConvTranspose3d(model.decoder_width, features, 2, stride=2),
            Block(features),
            nn.ConvTranspose3d(features, features, 4, stride=4),
        )
        hidden = model.atom_field_width
        self.displacement = nn.Sequential(
            nn.Linear(features, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 3)
        )

    def forward(self, density: Tensor, atoms: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """density (batch, z, y, x), atoms (atom, 3) xyz from -1 to 1 across the outer voxels' centres.

        Returns displacement (batch, atom, 3) angstrom, posterior mean and log variance (batch, c, z, y, x).
        """
        std, mean = torch.std_mean(density, dim=(1, 2, 3), keepdim=True)
        latent_mean, log_variance = self.encoder(((density - mean) / std)[:, None]).chunk(2, dim=1)
        noise = torch.randn(latent_mean.shape, generator=generator)
        features = self.decoder(latent_mean + noise * (0.5 * log_variance).exp())
        places = atoms.expand(len(density), 1, 1, -1, 3)
        sampled = F.grid_sample(features, places, align_corners=True)[:, :, 0, 0].movedim(1, 2)
        return self.displacement(sampled), latent_mean, log_variance


class Baseline:
    """The plain step for one system; `module` and `losses` are called as those of `Stage1` are."""

    def __init__(self, recipe: Recipe, model: AtomicModel):
        self.recipe, self.grid = recipe, Grid.centred(recipe.grid.box_sizes[-1], recipe.grid.voxel_size)
        self.reference = torch.from_numpy(model.positions_xyz)
        self.amplitude, self.radius = (
            torch.tensor([float(table[name]) for name in ELEMENTS])[torch.from_numpy(model.element)]
            for table in (ATOMIC_NUMBERS, RADII)
        )
        self.residue = torch.from_numpy(model.residue_index)
        self.windows, self.residues = backbone_windows(model), residue_atoms(model)
        self.ramachandran = ramachandran_residues(model, bonded_to_next(model))
        self.rotamers = rotamer_residues(model)
        # their tables are read at the first call, which under fake tensors would fail
        ramachandran_excess(self.reference[None], self.ramachandran)
        rotamer_excess(self.reference[None], self.rotamers)

    def module(self) -> DenseVAE:
        """A freshly initialised network, its kernels laid out as convolutions are fastest with on a CPU."""
        module = DenseVAE(self.recipe.model)
        for layer in module.modules():
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
                layer.weight = nn.Parameter(layer.weight.detach().contiguous(memory_format=torch.channels_last_3d))
        return module

    def losses(self, module: nn.Module, batch: Stage1Batch, noise: Noise) -> dict[str, Tensor]:
        """The paper's terms with our weights, each a mean over the batch; `total` is what training minimises."""
        config = self.recipe.stage1
        half = 0.5 * (self.grid.shape_zyx[0] - 1) * self.grid.voxel_size
        generator = torch.Generator().manual_seed(noise.step)
        displacement, mean, log_variance = module(batch.density, self.reference / half, generator)
        positions = self.reference + displacement
        rendered = render_windows(positions, self.amplitude, self.grid, batch.resolution[0])
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        weighted = {
            "misfit": (1.0, (1 - ncc(rendered, batch.density)).mean()),
            "kl": (config.kl_weight, kl.mean()),
            "backbone": (config.backbone_weight, distances_kept(positions, self.reference, self.windows)),
            "residue": (config.residue_weight, distances_kept(positions, self.reference, self.residues)),
            "clash": (1e-6, all_pairs_clash(positions, self.radius, self.residue)),
            "ramachandran": (1e-6, ramachandran_excess(positions, self.ramachandran).square().sum(1).mean()),
            "rotamer": (1e-6, rotamer_excess(positions, self.rotamers).square().sum(1).mean()),
        }
        total = torch.stack([weight * value for weight, value in weighted.values()]).sum()
        return {"total": total, **{name: value for name, (_, value) in weighted.items()}}


def render_windows(positions_xyz: Tensor, amplitudes: Tensor, grid: Grid, resolution: float) -> Tensor:
    """The Gaussian form of the forward model: each atom added to the window of voxels around it.

    positions_xyz (batch, atom, 3), amplitudes (atom,) -> (batch, z, y, x).
    """
    sigma, size = gaussian_sigma(resolution), grid.shape_zyx[0]
    reach = int(np.ceil(CUTOFF * sigma / grid.voxel_size))
    place = (positions_xyz - torch.tensor(grid.origin_xyz)) / grid.voxel_size
    voxel = place.detach().round().long()[..., None] + torch.arange(-reach, reach + 1)
    inside = (voxel >= 0) & (voxel < size)
    weight = torch.exp(-0.5 * ((voxel - place[..., None]) * grid.voxel_size / sigma) ** 2) * inside
    x, y, z = weight.unbind(2)
    values = (amplitudes[:, None] * z)[..., :, None, None] * y[..., None, :, None] * x[..., None, None, :]
    x, y, z = voxel.clamp(0, size - 1).unbind(2)
    index = (z[..., :, None, None] * size + y[..., None, :, None]) * size + x[..., None, None, :]
    batch = len(positions_xyz)
    flat = positions_xyz.new_zeros(batch * size**3)
    start = torch.arange(batch)[:, None] * size**3
    return flat.index_add(0, (index.flatten(1) + start).flatten(), values.flatten()).view(batch, *grid.shape_zyx)


def all_pairs_clash(positions_xyz: Tensor, radius: Tensor, residue: Tensor) -> Tensor:
    """Squared overlap beyond ALLOWED_OVERLAP of all pairs of atoms that are more than a residue apart.

    positions_xyz (batch, atom, 3), radius and residue (atom,) -> mean over the batch of the sum, angstrom^2.
    """
    distance = torch.cdist(positions_xyz, positions_xyz)
    apart = (residue[:, None] - residue).abs() > 1
    overlap = (radius[:, None] + radius - ALLOWED_OVERLAP - distance).clamp_min(0) * apart
    return 0.5 * overlap.square().sum((1, 2)).mean()


def distances_kept(positions_xyz: Tensor, reference_xyz: Tensor, groups: Tensor) -> Tensor:
    """Mean squared difference to the reference's of all distances within groups of atoms, angstrom^2.

    positions_xyz (batch, atom, 3), reference_xyz (atom, 3), groups (group, k) rows of atoms, -1 for none.
    """
    present = groups >= 0
    pairs = present[:, :, None] & present[:, None] & ~torch.eye(groups.shape[1], dtype=torch.bool)
    rows = groups.clamp_min(0)

    def distances(xyz: Tensor) -> Tensor:
        atoms = xyz[..., rows, :]
        return ((atoms[..., :, None, :] - atoms[..., None, :, :]).square().sum(-1) + 1e-8).sqrt()

    difference = (distances(positions_xyz) - distances(reference_xyz)) * pairs
    return difference.square().sum() / (pairs.sum() * len(positions_xyz))


def backbone_windows(model: AtomicModel) -> Tensor:
    """(window, 20) rows of the backbone atoms of every five consecutive bonded residues."""
    bonded = bonded_to_next(model)
    starts = [first for first in range(model.n_residues - WINDOW + 1) if bonded[first : first + WINDOW - 1].all()]
    rows = np.array(starts)[:, None] + np.arange(WINDOW)
    return torch.from_numpy(model.backbone_index()[rows].reshape(len(starts), -1))


def residue_atoms(model: AtomicModel) -> Tensor:
    """(residue, k) rows of the atoms of every residue, padded with -1."""
    counts = np.bincount(model.residue_index)
    rows = np.cumsum(counts)[:, None] - counts[:, None] + np.arange(counts.max())
    return torch.from_numpy(np.where(np.arange(counts.max()) < counts[:, None], rows, -1))
