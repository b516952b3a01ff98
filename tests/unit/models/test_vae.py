"""The decoder over tokens equals a plain decoder on the dense grid, in values and gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cryofound.config import GridConfig, ModelConfig
from cryofound.ensemble.system import State, System
from cryofound.maps.density_map import Grid
from cryofound.models.latent_grid import STRIDE, TokenGrid, occupied_tokens
from cryofound.models.layers import TokenConvNeXt
from cryofound.models.molecule import MoleculeBatch
from cryofound.models.vae import VAE, Decoder
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES
from cryofound.training.molecules import molecule_batch
from tests.made_proteins import made_protein

MODEL = ModelConfig(
    latent_channels=4, encoder_width=12, encoder_depth=2, decoder_width=16, decoder_depth=2, feature_channels=8,
    token_width=8, atom_field_width=16, system_residual_width=6, groups=(2, 5), grouped_from=50,
)  # fmt: skip
GRID = GridConfig(box_size=32, voxel_size=3.0)


def molecules(dtype: torch.dtype) -> MoleculeBatch:
    """Three proteins of different size, the smallest of them beyond the outermost points of the feature grid.

    One hides what it is, another its geometry.
    """
    systems = []
    for row, residues in enumerate((40, 90, 64)):
        model = made_protein(residues, seed=row)
        xyz = model.positions_xyz - model.positions_xyz.mean(0) + (0 if row else [0, 0, 36])
        model = model.moved(xyz)
        state = State("a", 1.0, 8.0, "train")
        position = np.arange(residues, dtype=np.float32)
        truth = model.positions_xyz[None]
        systems.append(
            System(
                f"{row}", "made", "train", model, position, (state,), truth, np.ones(truth.shape[:2], dtype=bool),
                Grid.centred(32, 3.0),
            )
        )  # fmt: skip
    batch = molecule_batch(systems, range(3), MODEL)
    fields = {name: value.to(dtype) if value.is_floating_point() else value for name, value in vars(batch).items()}
    return MoleculeBatch(**fields).hiding(torch.tensor([False, True, False]), torch.tensor([False, False, True]))


def network(dtype: torch.dtype) -> VAE:
    """A network none of whose layers is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = VAE(MODEL, GRID, 3, len(RESIDUE_TYPES), len(ATOM_NAMES))
        for weight in vae.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.1)
    return vae.to(dtype)


def dense(tokens: TokenGrid, values: Tensor) -> Tensor:
    """Token values (batch, token, c) on the whole grid (batch, c, z, y, x), zero where unoccupied."""
    grid = values.new_zeros(len(values), tokens.edge**3, values.shape[2])
    rows = torch.arange(len(values))[:, None].expand_as(tokens.index)[tokens.mask]
    grid = grid.index_put((rows, tokens.index[tokens.mask]), values[tokens.mask])
    return grid.movedim(1, 2).unflatten(2, (tokens.edge,) * 3)


def dense_block(block: TokenConvNeXt, grid: Tensor, occupied: Tensor, condition: Tensor) -> Tensor:
    """The block as a dense depthwise convolution over (batch, c, z, y, x) and layers over its channels."""
    width = grid.shape[1]
    hidden = F.conv3d(grid, block.depthwise.T.reshape(width, 1, 3, 3, 3), padding=1, groups=width).movedim(1, -1)
    assert block.film is not None
    scale, shift = block.film(condition)[:, None, None, None].chunk(2, dim=-1)
    hidden = block.norm(hidden) * (1 + scale) + shift
    return grid + block.contract(F.gelu(block.expand(hidden))).movedim(-1, 1) * occupied


def dense_decode(decoder: Decoder, latent: Tensor, residual: Tensor, molecule: MoleculeBatch, tokens: TokenGrid):
    """The decoder on the whole box: dense blocks, a transposed convolution with kernel 2 and stride 2, grid_sample."""
    residues = decoder.residue_tokens(molecule)
    count = molecule.residue_mask.sum(1, keepdim=True)
    condition = decoder.system_vector((residues * molecule.residue_mask[..., None]).sum(1) / count) + residual
    occupied = dense(tokens, torch.ones_like(latent[..., :1]))
    grid = decoder.stem(dense(tokens, latent).movedim(1, -1)).movedim(-1, 1) * occupied
    for block in decoder.blocks:
        grid = dense_block(block, grid, occupied, condition)
    width = grid.shape[1]
    kernel = decoder.upsample.weight.view(2, 2, 2, -1, width).permute(4, 3, 0, 1, 2)
    bias = decoder.upsample.bias.view(2, 2, 2, -1).permute(3, 0, 1, 2).repeat(1, *(tokens.edge,) * 3)
    fine_occupied = F.interpolate(occupied, scale_factor=2, mode="nearest")
    fine = (F.conv_transpose3d(grid, kernel, stride=2) + bias) * fine_occupied
    fine = dense_block(decoder.fine, fine, fine_occupied, condition)
    extent = 0.5 * (2 * tokens.edge - 1) * decoder.voxel_size * STRIDE / 2
    places = (molecule.residue_xyz / extent)[:, :, None, None]
    sampled = F.grid_sample(fine, places, align_corners=True, padding_mode="border")[..., 0, 0].movedim(1, 2)
    return decoder.atom_field(sampled, residues, molecule) * molecule.atom_mask[..., None]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_decoder_equals_the_dense_one_in_values_and_gradients(dtype: torch.dtype, tolerance: float):
    molecule, decoder = molecules(dtype), network(dtype).decoder
    tokens = occupied_tokens(molecule.reference_xyz, molecule.atom_mask, 32, 3.0, 11.0)
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(*tokens.mask.shape, MODEL.latent_channels, generator=generator, dtype=dtype).requires_grad_()
    residual = torch.randn(3, MODEL.system_residual_width, generator=generator, dtype=dtype).requires_grad_()
    ours = decoder(latent, residual, molecule, tokens)
    oracle = dense_decode(decoder, latent, residual, molecule, tokens)
    assert oracle[molecule.atom_mask].norm(dim=-1).mean() > 0.1
    torch.testing.assert_close(ours, oracle, rtol=0, atol=tolerance * oracle.abs().max().item())
    cotangent = torch.randn(ours.shape, generator=generator, dtype=dtype)
    inputs = {"latent": latent, "residual": residual, **dict(decoder.named_parameters())}
    got, wanted = (torch.autograd.grad(values, list(inputs.values()), cotangent) for values in (ours, oracle))
    for name, a, b in zip(inputs, got, wanted, strict=True):
        error = (a - b).norm() / b.norm()
        assert error < tolerance, name
        assert b.norm() > 0, name


def test_encoder_equals_the_dense_one():
    """A convolution with kernel and stride 8 over both standardised maps, then dense blocks, read at the tokens."""
    molecule, encoder = molecules(torch.float64), network(torch.float64).encoder
    tokens = occupied_tokens(molecule.reference_xyz, molecule.atom_mask, 32, 3.0, 11.0)
    generator = torch.Generator().manual_seed(2)
    density, reference = (torch.rand(2, 3, 32, 32, 32, generator=generator, dtype=torch.float64) * 7 + 3).unbind(0)
    mean, log_variance = encoder(density, reference, tokens)
    both = torch.stack([density, reference], dim=1)
    std, middle = torch.std_mean(both, dim=(2, 3, 4), keepdim=True)
    kernel = encoder.stem.weight.view(-1, 2, STRIDE, STRIDE, STRIDE)
    occupied = dense(tokens, torch.ones_like(mean[..., :1]))
    grid = F.conv3d((both - middle) / std, kernel, encoder.stem.bias, stride=STRIDE) * occupied
    for block in encoder.blocks:
        width = grid.shape[1]
        hidden = F.conv3d(grid, block.depthwise.T.reshape(width, 1, 3, 3, 3), padding=1, groups=width)
        update = block.contract(F.gelu(block.expand(block.norm(hidden.movedim(1, -1))))).movedim(-1, 1)
        grid = grid + update * occupied
    wanted_mean, wanted_log_variance = encoder.out(encoder.norm(grid.movedim(1, -1))).movedim(-1, 1).chunk(2, dim=1)
    torch.testing.assert_close(dense(tokens, mean), wanted_mean * occupied, rtol=1e-9, atol=1e-9)
    wanted = (wanted_log_variance - 4.0).clamp(-14.0, 6.0) * occupied
    torch.testing.assert_close(dense(tokens, log_variance), wanted, rtol=1e-9, atol=1e-9)
