"""The test atoms are protein-like, and memory is counted as it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.stage1_cost import channel_model
from cryofound.physics.geometry import bonded_to_next
from cryofound.training.live_tensors import LiveTensors


@pytest.mark.shared
@pytest.mark.parametrize("atoms", [1_000, 5_000, 20_000, 100_000])
def test_channel_model_is_whole_residues_that_do_not_overlap(shared_data: Path, atoms: int):
    model = channel_model(shared_data, atoms)
    assert model.n_atoms == pytest.approx(atoms, rel=0.02)
    assert (model.backbone_index() >= 0).all()
    assert model.residue_index[-1] == model.n_residues - 1
    assert not cKDTree(model.positions_xyz).query_pairs(1.0)
    assert bonded_to_next(model).mean() > 0.97
    np.testing.assert_allclose(model.positions_xyz.min(0), -model.positions_xyz.max(0), atol=1e-3)
    # 20,000 atoms fit into 192 voxels of 1.1 A
    assert np.ptp(model.positions_xyz, axis=0).max() < 200 * max(1, atoms / 20_000) ** (1 / 3)


def test_live_tensors_are_counted_until_they_are_let_go():
    with LiveTensors() as live:
        kept = torch.zeros(1000)
        for _ in range(3):
            passing = torch.zeros(500) + 1  # two of 2000 bytes at once
            del passing
        view = kept[::2]
    assert view.shape == (500,)
    assert live.peak == 4000 + 2 * 2000


def test_fake_tensors_count_as_real_ones_do():
    def peak() -> int:
        weight = torch.ones(200, 300, requires_grad=True)
        with LiveTensors() as live:
            (torch.ones(50, 200) @ weight).exp().square().sum().backward()
        return live.peak

    real = peak()
    with FakeTensorMode():
        assert peak() == real > 3 * 50 * 300 * 4
