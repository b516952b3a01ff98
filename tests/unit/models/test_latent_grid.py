"""The token networks equal their dense counterparts on the grid."""

import pytest
import torch
from torch.nn import functional as F

from cryofound.models.atom_field import sample_children
from cryofound.models.latent_grid import STRIDE, TokenGrid, latent_centres, occupied_tokens
from cryofound.models.layers import depthwise_tokens

BOX_SIZE, VOXEL_SIZE = 40, 2.0


def molecules() -> tuple[torch.Tensor, torch.Tensor]:
    """Two blobs of atoms of different size, the second padded."""
    generator = torch.Generator().manual_seed(1)
    xyz = torch.randn(2, 60, 3, generator=generator) * 9
    mask = torch.ones(2, 60, dtype=torch.bool)
    mask[1, 25:] = False
    return xyz, mask


def scatter(tokens: TokenGrid, values: torch.Tensor) -> torch.Tensor:
    """Token values (batch, token, c) on the dense grid (batch, c, z, y, x), zero where unoccupied."""
    dense = torch.zeros(len(values), tokens.edge**3, values.shape[2], dtype=values.dtype)
    for row in range(len(values)):
        dense[row, tokens.index[row, tokens.mask[row]]] = values[row, tokens.mask[row]]
    return dense.movedim(1, 2).unflatten(2, (tokens.edge,) * 3)


def child_scatter(tokens: TokenGrid, children: torch.Tensor) -> torch.Tensor:
    """Children (batch, 8 * token, c) on the dense grid of twice the edge."""
    edge = tokens.edge
    parts = children.unflatten(1, (-1, 8)).flatten(2)
    dense = scatter(tokens, parts).unflatten(1, (2, 2, 2, -1))
    return dense.permute(0, 4, 5, 1, 6, 2, 7, 3).reshape(len(children), -1, 2 * edge, 2 * edge, 2 * edge)


def test_occupied_is_distance_of_cell_to_nearest_atom():
    xyz, mask = molecules()
    tokens = occupied_tokens(xyz, mask, BOX_SIZE, VOXEL_SIZE, 8.0)
    centres = latent_centres(BOX_SIZE, VOXEL_SIZE)
    half = STRIDE * VOXEL_SIZE / 2
    for row in range(2):
        closest = torch.minimum(torch.maximum(xyz[row, mask[row]][:, None], centres - half), centres + half)
        distance = (closest - xyz[row, mask[row]][:, None]).norm(dim=-1).amin(0)
        assert set(tokens.index[row, tokens.mask[row]].tolist()) == set(torch.where(distance <= 8.0)[0].tolist())
        assert torch.equal(tokens.centres_xyz[row], centres[tokens.index[row]])
    assert tokens.mask[1].sum() < tokens.mask[0].sum()


def test_atoms_at_and_beyond_the_edges_of_the_box_occupy_what_they_reach():
    xyz = torch.randn(1, 25, 3, generator=torch.Generator().manual_seed(5)) * 40
    tokens = occupied_tokens(xyz, torch.ones(1, 25, dtype=torch.bool), BOX_SIZE, VOXEL_SIZE, 17.0)
    centres = latent_centres(BOX_SIZE, VOXEL_SIZE)
    gap = ((xyz[0][:, None] - centres).abs() - STRIDE * VOXEL_SIZE / 2).clamp_min(0)
    assert set(tokens.index[0].tolist()) == set(torch.where(gap.norm(dim=-1).amin(0) <= 17.0)[0].tolist())
    assert 25 < tokens.mask.sum() < 125
    assert xyz.abs().max() > 80


def test_reach_under_the_corners_is_refused():
    with pytest.raises(ValueError, match="occupancy_reach"):
        occupied_tokens(*molecules(), BOX_SIZE, VOXEL_SIZE, 6.9)


def test_depthwise_over_tokens_is_a_masked_dense_convolution():
    xyz, mask = molecules()
    tokens = occupied_tokens(xyz, mask, BOX_SIZE, VOXEL_SIZE, 8.0)
    generator = torch.Generator().manual_seed(2)
    # 600 channels: the tokens are taken in several pieces
    values = (torch.randn(2, tokens.mask.shape[1], 600, generator=generator) * tokens.mask[..., None]).requires_grad_()
    weight = torch.randn(27, 600, generator=generator).requires_grad_()
    ours = scatter(tokens, depthwise_tokens(values, tokens.neighbours, weight))
    dense = F.conv3d(scatter(tokens, values), weight.T.reshape(600, 1, 3, 3, 3), padding=1, groups=600)
    dense = dense * scatter(tokens, torch.ones_like(values))
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=1e-5)
    cotangent = torch.randn(ours.shape, generator=generator)
    got, wanted = (torch.autograd.grad(result, (values, weight), cotangent) for result in (ours, dense))
    torch.testing.assert_close(
        got[0] * tokens.mask[..., None], wanted[0] * tokens.mask[..., None], rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(got[1], wanted[1], rtol=1e-5, atol=1e-4)


def test_child_neighbours_are_a_dense_convolution_at_half_the_spacing():
    xyz, mask = molecules()
    tokens = occupied_tokens(xyz, mask, BOX_SIZE, VOXEL_SIZE, 8.0)
    generator = torch.Generator().manual_seed(3)
    count = tokens.mask.shape[1]
    child_mask = tokens.mask.repeat_interleave(8, dim=1)[..., None]
    values = torch.randn(2, 8 * count, 4, generator=generator) * child_mask
    weight = torch.randn(27, 4, generator=generator)
    ours = depthwise_tokens(values, tokens.child_neighbours(), weight) * child_mask
    dense = F.conv3d(child_scatter(tokens, values), weight.T.reshape(4, 1, 3, 3, 3), padding=1, groups=4)
    occupied = child_scatter(tokens, torch.ones_like(values) * child_mask)
    torch.testing.assert_close(child_scatter(tokens, ours), dense * occupied, rtol=1e-5, atol=1e-5)


def test_sampling_at_the_atoms_equals_the_dense_feature_grid():
    """Trilinear sampling of the whole grid of children is the oracle of reading eight points around each atom."""
    xyz, mask = molecules()
    tokens = occupied_tokens(xyz, mask, BOX_SIZE, VOXEL_SIZE, 7.0)
    generator = torch.Generator().manual_seed(4)
    children = torch.randn(2, 8 * tokens.mask.shape[1], 5, generator=generator, dtype=torch.float64)
    children = (children * tokens.mask.repeat_interleave(8, dim=1)[..., None]).requires_grad_()
    ours = sample_children(children, tokens, xyz.double(), VOXEL_SIZE)
    spacing = VOXEL_SIZE * STRIDE / 2
    extent = 0.5 * (2 * tokens.edge - 1) * spacing
    dense = child_scatter(tokens, children)
    oracle = F.grid_sample(dense, (xyz.double() / extent)[:, :, None, None], align_corners=True)
    oracle = oracle.squeeze(-1).squeeze(-1).movedim(1, 2)
    torch.testing.assert_close(ours[mask], oracle[mask], rtol=1e-9, atol=1e-9)
    cotangent = torch.randn(ours.shape, generator=generator, dtype=torch.float64) * mask[..., None]
    got, wanted = (torch.autograd.grad(values, children, cotangent)[0] for values in (ours, oracle))
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_the_eight_points_around_an_atom_are_occupied_at_the_least_reach():
    xyz, mask = molecules()
    tokens = occupied_tokens(xyz, mask, BOX_SIZE, VOXEL_SIZE, 3**0.5 * VOXEL_SIZE * STRIDE / 4 + 1e-4)
    ones = tokens.mask.repeat_interleave(8, dim=1)[..., None].double()
    total = sample_children(ones, tokens, xyz.double(), VOXEL_SIZE)
    torch.testing.assert_close(total[mask], torch.ones_like(total[mask]))


def test_boxes_16_voxels_apart_share_their_latent_voxels():
    xyz, mask = molecules()
    small, large = (occupied_tokens(xyz, mask, size, VOXEL_SIZE, 8.0) for size in (40, 72))
    assert torch.equal(small.mask, large.mask)
    assert torch.equal(small.centres_xyz[small.mask], large.centres_xyz[large.mask])
    assert torch.equal(small.neighbours, large.neighbours)
    children = torch.randn(2, 8 * small.mask.shape[1], 5, generator=torch.Generator().manual_seed(6))
    ours, theirs = (sample_children(children, tokens, xyz, VOXEL_SIZE) for tokens in (small, large))
    torch.testing.assert_close(ours[mask], theirs[mask])
