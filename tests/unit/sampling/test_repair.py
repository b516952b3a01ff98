"""Repair brings a distorted model to sound geometry and moves it little."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cryofound.config import RepairConfig
from cryofound.evaluation.stereochemistry import backbone_bond_deviation, ramachandran
from cryofound.physics.geometry import bond_pairs, distance_loss
from cryofound.sampling.repair import repair
from cryofound.structure.normal_modes import mode_states
from cryofound.structure.reading import read_model


def rmsd(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).sum(-1).mean()))


@pytest.mark.shared
def test_torn_normal_mode_states_become_sound_within_a_quarter_angstrom(shared_data: Path):
    model = read_model(shared_data / "calmodulin" / "seed" / "1exr_final.cif", chain="A")
    torn = mode_states(model, mode=1, rmsd=3.46).astype(np.float32)
    assert backbone_bond_deviation(model, torn) > 0.25
    mended = repair(model, torn, RepairConfig())
    assert backbone_bond_deviation(model, mended) < 0.05
    assert rmsd(mended, torn) < 0.25
    scores = ramachandran(model, np.concatenate([model.positions_xyz[None], mended]))
    assert scores is not None
    assert scores.percent[1:].max() <= scores.percent[0] + 1
    assert scores.evaluated.min() == scores.evaluated.max()


@pytest.mark.shared
def test_a_sound_model_stays_where_it_is(shared_data: Path):
    model = read_model(shared_data / "calmodulin" / "seed" / "1rfj_final.cif")
    samples = np.repeat(model.positions_xyz[None], 2, axis=0)
    assert rmsd(repair(model, samples, RepairConfig()), samples) < 1e-3


@pytest.mark.shared
def test_samples_are_repaired_one_by_one(shared_data: Path):
    model = read_model(shared_data / "calmodulin" / "seed" / "4cln.pdb")
    noise = np.random.default_rng(1).normal(0, 0.2, (2, model.n_atoms, 3)).astype(np.float32)
    samples = model.positions_xyz + noise
    config = RepairConfig(iterations=30)
    both = repair(model, samples, config)
    assert np.array_equal(both[1], repair(model, samples[1:], config)[0])
    before, after = (distance_loss(torch.from_numpy(x), bond_pairs(model)).sum().item() for x in (samples, both))
    assert after < 0.1 * before
