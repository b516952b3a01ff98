"""Omega against closed forms; its class in real structures is checked against omegalyze in tests/oracles."""

import biotite.structure as bts
import numpy as np
import pytest
import torch

from cryofound.physics.omega import SIGMA, omega_deviation, omega_term, peptides
from tests.made_peptides import made_peptide
from tests.made_proteins import random_rotation

OMEGAS = (180.0, 170.0, -175.0, 0.0, 20.0, -15.0, 130.0)
DEVIATIONS = (0.0, -10.0, 5.0, 0.0, 20.0, -15.0, -50.0)


def test_deviation_is_from_the_nearer_of_trans_and_cis():
    model = made_peptide(["ALA", "PRO"] * 4, OMEGAS)
    found = peptides(model)
    assert found.cis.tolist() == [False, False, False, True, True, True, False]
    assert found.residue.tolist() == list(range(1, 8))
    positions = torch.from_numpy(model.positions_xyz).double()[None]
    assert omega_deviation(positions, found)[0].tolist() == pytest.approx(DEVIATIONS, abs=1e-3)
    assert omega_term(positions, found)[0].tolist() == pytest.approx(np.square(DEVIATIONS) / SIGMA**2, abs=1e-3)


def test_the_state_is_the_references_whatever_becomes_of_it():
    trans, cis = made_peptide(["ALA", "ALA"], 180.0), made_peptide(["ALA", "ALA"], 10.0)
    deviation = omega_deviation(torch.from_numpy(cis.positions_xyz)[None], peptides(trans))
    assert deviation.abs().item() == pytest.approx(170.0, abs=1e-3)


def test_agrees_with_biotite_on_a_shaken_chain_and_turns_with_it():
    model = made_peptide(["ALA"] * 20)
    shaken = model.positions_xyz + np.random.default_rng(0).normal(0, 0.3, model.positions_xyz.shape)
    found = peptides(model)
    theirs = np.degrees(bts.dihedral(*shaken[found.atoms.numpy()].transpose(1, 0, 2)))
    turned = np.stack([shaken, shaken @ random_rotation(1).T + 5.0])
    ours = omega_deviation(torch.from_numpy(turned), found).numpy()
    np.testing.assert_allclose((ours - theirs) % 360, np.full(ours.shape, 180.0), atol=1e-3)


def test_no_peptide_across_a_gap_or_between_chains():
    model = made_peptide(["ALA"] * 6)
    torn = model.positions_xyz.copy()
    torn[model.residue_index >= 2] += 5.0
    model = model.moved(torn)
    model.chain_id[4:] = "B"
    assert peptides(model).residue.tolist() == [1, 3, 5]


def test_gradient_is_right_and_finite_where_omega_has_no_value():
    model = made_peptide(["GLY", "ALA", "PRO"], (165.0, 20.0))
    found = peptides(model)
    positions = torch.from_numpy(model.positions_xyz).double()[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda xyz: omega_term(xyz, found), positions)
    for dtype in (torch.float32, torch.float64):
        for degenerate in (torch.zeros(model.n_atoms, 3), torch.arange(model.n_atoms)[:, None] * torch.ones(3)):
            flat = degenerate.to(dtype)[None].requires_grad_()
            omega_term(flat, found).sum().backward()
            assert flat.grad is not None
            assert torch.isfinite(flat.grad).all()
