"""Repair brings a distorted model to sound geometry, moves it little, and keeps copies alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryofound.config import RepairConfig
from cryofound.evaluation.stereochemistry import ramachandran
from cryofound.physics.restraints import restraint_rms
from cryofound.physics.stereochemistry import stereochemistry
from cryofound.sampling.repair import repair, repair_tables
from cryofound.sampling.validity import soundness
from cryofound.structure.normal_modes import mode_states
from cryofound.structure.reading import read_model
from cryofound.structure.symmetry import find_symmetry
from tests.made_proteins import made_protein


def rmsd(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).sum(-1).mean()))


@pytest.mark.shared
def test_torn_normal_mode_states_become_sound_within_half_an_angstrom(shared_data: Path):
    model = read_model(shared_data / "calmodulin" / "seed" / "1exr_final.cif", chain="A")
    torn = mode_states(model, mode=1, rmsd=3.46).astype(np.float32)
    terms = stereochemistry(model)
    before = soundness(torch.from_numpy(torn), terms)
    mended, moved = repair(torn, repair_tables(model), RepairConfig())
    after = soundness(torch.from_numpy(mended), terms)
    assert (before.bond_rms > 0.1).all()
    assert (before.clashes > 50).all()
    assert (after.bond_rms < 0.01).all()
    assert (after.clashes < 5).all()
    assert (after.mirrored == 0).all()
    assert restraint_rms(torch.from_numpy(mended), terms.restraints.angles).max() < 2.0
    assert moved.max() < 0.5
    assert moved == pytest.approx(np.sqrt(((mended - torn) ** 2).sum(-1).mean(-1)), rel=1e-4)
    scores = ramachandran(model, np.concatenate([model.positions_xyz[None], mended]))
    assert scores is not None
    assert scores.percent[1:].max() <= scores.percent[0] + 1
    assert scores.evaluated.min() == scores.evaluated.max()


@pytest.mark.shared
def test_a_sound_model_moves_by_a_tenth_of_an_angstrom(shared_data: Path):
    model = read_model(shared_data / "calmodulin" / "seed" / "1rfj_final.cif")
    samples = np.repeat(model.positions_xyz[None], 2, axis=0)
    assert repair(samples, repair_tables(model), RepairConfig(iterations=20))[1].max() < 0.15


def test_samples_are_repaired_one_by_one():
    model = made_protein(30)
    noise = np.random.default_rng(1).normal(0, 0.2, (3, model.n_atoms, 3)).astype(np.float32)
    samples, tables = model.positions_xyz + noise, repair_tables(model)
    config = RepairConfig(iterations=10)
    together, moved = repair(samples, tables, config)
    alone, _ = repair(samples[1:2], tables, config)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-3)
    assert (moved > 0.01).all()


def test_no_iterations_leave_samples_alone():
    model = made_protein(12)
    samples = model.positions_xyz[None] + 1.0
    kept, moved = repair(samples, repair_tables(model), RepairConfig(iterations=0))
    assert np.array_equal(kept, samples)
    assert moved.tolist() == [0]


def test_copies_stay_where_the_operators_bring_the_first_of_them():
    """Four copies about an axis, each shaken in its own way: afterwards they are one copy, four times."""
    one = made_protein(20)
    angle = np.arange(4) * np.pi / 2
    turns = np.array([[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in angle])
    arm = one.positions_xyz - one.positions_xyz.mean(0) + [25.0, 0, 0]
    complex_ = replace(
        one,
        positions_xyz=np.concatenate([arm @ turn.T for turn in turns]).astype(np.float32),
        atom_name=np.tile(one.atom_name, 4),
        element=np.tile(one.element, 4),
        residue_index=np.concatenate([one.residue_index + copy * one.n_residues for copy in range(4)]),
        residue_type=np.tile(one.residue_type, 4),
        residue_number=np.tile(one.residue_number, 4),
        chain_id=np.repeat(np.array(["A", "B", "C", "D"]), one.n_residues),
    )
    shaken = complex_.positions_xyz + np.random.default_rng(0).normal(0, 0.1, complex_.positions_xyz.shape)
    symmetry = find_symmetry(complex_, "C4")
    config = RepairConfig(iterations=15)

    def off(positions: np.ndarray) -> float:
        images = np.einsum("gij,gaj->gai", symmetry.rotation, positions[symmetry.atoms]) + symmetry.shift[:, None]
        return float(np.abs(images - positions).max())

    samples = shaken[None].astype(np.float32)
    tied, _ = repair(samples, repair_tables(complex_, symmetry), config)
    free, _ = repair(samples, repair_tables(complex_), config)
    assert off(samples[0]) > 0.2
    assert off(tied[0]) < 1e-3
    assert off(free[0]) > 0.05
    tables = repair_tables(complex_).terms
    assert (
        soundness(torch.from_numpy(tied), tables).bond_rms < 0.5 * soundness(torch.from_numpy(samples), tables).bond_rms
    )
