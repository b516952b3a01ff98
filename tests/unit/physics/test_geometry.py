"""Distance losses against the plain sums that define them."""

from itertools import combinations

import numpy as np
import pytest
import torch

from cryofound.physics.geometry import WINDOW, backbone_pairs, bond_pairs, distance_loss, peptide_pairs, residue_pairs
from cryofound.structure.atomic_model import ATOM_NAMES, AtomicModel


def chain(residues: int, seed: int = 0) -> AtomicModel:
    """N, CA, C, O, CB per residue along a line, bonded C to N."""
    random = np.random.default_rng(seed)
    offsets = np.array([[0, 0, 0], [1.45, 0, 0.3], [2.6, 0.5, 0], [2.7, 1.7, 0], [1.5, -1.2, 0.9]])
    xyz = np.concatenate([offsets + [3.75 * row, 0.2 * row, 0] for row in range(residues)])
    xyz = (xyz + random.normal(0, 0.05, xyz.shape)).astype(np.float32)
    names = [ATOM_NAMES.index(name) for name in ("N", "CA", "C", "O", "CB")]
    return AtomicModel(
        xyz,
        np.array(names * residues),
        np.array([1, 0, 0, 2, 0] * residues),
        np.repeat(np.arange(residues), 5),
        np.zeros(residues, dtype=np.int64),
        np.arange(1, residues + 1),
        np.array(["A"] * residues),
    )


def moved(model: AtomicModel) -> torch.Tensor:
    noise = torch.randn(2, model.n_atoms, 3, generator=torch.Generator().manual_seed(3)) * 0.3
    return torch.from_numpy(model.positions_xyz) + noise


def plain_mean(model: AtomicModel, positions: torch.Tensor, groups: list[list[int]]) -> float:
    """Mean over groups of the mean over all pairs of a group, one model."""
    reference, values = torch.from_numpy(model.positions_xyz), []
    for group in groups:
        for a, b in combinations(group, 2):
            values.append(((positions[a] - positions[b]).norm() - (reference[a] - reference[b]).norm()) ** 2)
    return float(torch.stack(values).mean())


def test_backbone_loss_is_the_mean_over_all_windows_and_pairs():
    model = chain(9)
    backbone = model.backbone_index()
    groups = [backbone[first : first + WINDOW].ravel().tolist() for first in range(9 - WINDOW + 1)]
    positions = moved(model)
    ours = distance_loss(positions, backbone_pairs(model))
    assert ours.tolist() == pytest.approx([plain_mean(model, each, groups) for each in positions], rel=1e-4)
    # 5 windows of 190 pairs, merged
    assert backbone_pairs(model).index.shape[1] < 5 * 190 / 2


def test_residue_loss_is_the_mean_over_pairs_within_residues():
    model = chain(4)
    positions = moved(model)
    groups = [np.flatnonzero(model.residue_index == row).tolist() for row in range(4)]
    ours = distance_loss(positions, residue_pairs(model))
    assert ours.tolist() == pytest.approx([plain_mean(model, each, groups) for each in positions], rel=1e-4)


@pytest.mark.parametrize("pairs", [backbone_pairs, bond_pairs, residue_pairs, peptide_pairs])
def test_a_rigid_motion_costs_nothing_and_its_gradient_is_finite(pairs):
    model = chain(8)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[
        0
    ].float()
    positions = (torch.from_numpy(model.positions_xyz) @ rotation + 5.0)[None].requires_grad_()
    loss = distance_loss(positions, pairs(model)).sum()
    assert loss.item() < 1e-9
    assert torch.isfinite(torch.autograd.grad(loss, positions)[0]).all()


def test_peptide_pairs_stop_at_a_chain_break():
    model = chain(6)
    assert peptide_pairs(model).index.shape[1] == 4 * 5
    xyz = model.positions_xyz.copy()
    xyz[15:] += 10.0
    assert peptide_pairs(model.moved(xyz)).index.shape[1] == 4 * 4
    assert backbone_pairs(model.moved(xyz)).index.shape[1] == 0
