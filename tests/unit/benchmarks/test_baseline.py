"""The plain port says the same as our own code wherever both say something."""

import numpy as np
import pytest
import torch

from benchmarks.baseline import (
    Baseline,
    all_pairs_clash,
    backbone_windows,
    distances_kept,
    render_windows,
    residue_atoms,
)
from benchmarks.stage1_cost import Case, recipe_of
from cryofound.config import ModelConfig
from cryofound.maps.density_map import Grid
from cryofound.physics.density import render_gaussian
from cryofound.physics.geometry import backbone_pairs, distance_loss, residue_pairs
from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, AtomicModel
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1Batch
from tests.made_proteins import made_protein


def strand(residues: int = 12) -> AtomicModel:
    """A straight chain of alanines whose peptide bonds are whole."""
    offsets = np.array([[0, 0, 0], [1.3, 0.6, 0], [2.4, -0.2, 0], [2.5, -1.4, 0], [1.3, 1.5, 1.2]])
    xyz = offsets + np.array([3.6, 0, 0]) * (np.arange(residues)[:, None, None] - residues / 2)
    names = ("N", "CA", "C", "O", "CB")
    return AtomicModel(
        xyz.reshape(-1, 3).astype(np.float32),
        np.tile([ATOM_NAMES.index(name) for name in names], residues),
        np.tile([ELEMENTS.index(name[0]) for name in names], residues),
        np.repeat(np.arange(residues), len(names)),
        np.zeros(residues, dtype=np.int64),
        np.arange(1, residues + 1),
        np.array(["A"] * residues),
    )


def shaken(model: AtomicModel, states: int = 2) -> torch.Tensor:
    noise = np.random.default_rng(0).standard_normal((states, model.n_atoms, 3))
    return torch.from_numpy((model.positions_xyz + 0.5 * noise).astype(np.float32))


def test_windows_render_the_same_density_with_the_same_gradient():
    model, grid = made_protein(40), Grid.centred(40, 1.5)
    positions = shaken(model).requires_grad_()
    amplitude = torch.linspace(6, 16, model.n_atoms)
    plain = render_windows(positions, amplitude, grid, 6.0)
    ours = render_gaussian(positions, amplitude.expand(2, -1), grid, 6.0)
    assert (plain - ours).norm() / ours.norm() < 1e-3  # a window is a cube, ours a ball
    cotangent = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    a, b = (torch.autograd.grad(density, positions, cotangent)[0] for density in (plain, ours))
    assert (a - b).norm() / b.norm() < 1e-2


def test_windows_one_by_one_are_the_merged_pairs():
    model = strand()
    positions = shaken(model)
    assert len(backbone_windows(model)) == 8
    for groups, pairs in (
        (backbone_windows(model), backbone_pairs(model)),
        (residue_atoms(model), residue_pairs(model)),
    ):
        plain = distances_kept(positions, torch.from_numpy(model.positions_xyz), groups)
        assert plain.item() == pytest.approx(distance_loss(positions, pairs).mean().item(), rel=1e-4)


def test_clash_is_the_squared_overlap_of_each_pair_once():
    positions = torch.tensor([[[0.0, 0.0, 0.0], [2.5, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    radius, residue = torch.tensor([1.7, 1.7, 1.5]), torch.tensor([0, 2, 1])
    # 0 and 2 are of neighbouring residues, 1 and 2 are 3.2 A apart
    assert all_pairs_clash(positions, radius, residue).item() == pytest.approx((3.4 - 0.4 - 2.5) ** 2)


def test_training_the_baseline_fits_a_map():
    model, case = strand(), Case(atoms=60, maps=2, box_size=32, voxel_size=2.0, resolution=6.0)
    small = ModelConfig(encoder_width=32, decoder_width=32, feature_channels=16)
    baseline = Baseline(recipe_of(case).model_copy(update={"model": small}), model)
    moved = torch.from_numpy(model.positions_xyz) + torch.tensor([[0.0, 3.0, 0.0], [0.0, -3.0, 0.0]])[:, None]
    density = render_gaussian(moved, baseline.amplitude.expand(2, -1), baseline.grid, 6.0)
    batch = Stage1Batch(density, torch.zeros(2, dtype=torch.long), (6.0, 6.0))
    torch.manual_seed(0)
    module = baseline.module()
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    misfits = []
    for step in range(40):
        losses = baseline.losses(module, batch, Noise(0, step))
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        misfits.append(losses["misfit"].item())
    assert misfits[-1] < 0.3 * misfits[0]
