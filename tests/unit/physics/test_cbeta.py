"""C-beta deviation against closed forms; agreement with cbetadev is in tests/oracles."""

import biotite.structure as bts
import numpy as np
import pytest
import torch

from cryofound.physics.cbeta import OUTLIER, cbeta_deviation, cbetas, ideal_cbeta
from cryofound.structure.atomic_model import ATOM_NAMES
from tests.made_peptides import made_peptide
from tests.made_proteins import random_rotation

SEQUENCE = ["ALA", "GLY", "PRO", "VAL", "TRP", "SER"]


def test_an_ideal_residue_has_none_and_a_moved_cb_its_distance():
    model = made_peptide(SEQUENCE)
    found = cbetas(model)
    assert found.residue.tolist() == [0, 2, 3, 4, 5]
    positions = torch.from_numpy(model.positions_xyz).double()[None]
    # the dictionary draws residues within the limit of what MolProbity allows
    assert (cbeta_deviation(positions, found) < OUTLIER).all()
    positions[:, found.atoms[:, 3]] = ideal_cbeta(positions, found)
    assert cbeta_deviation(positions, found).max() < 2e-4
    positions[:, found.atoms[:, 3]] += torch.tensor([0.0, 0.3, 0.4])
    torch.testing.assert_close(cbeta_deviation(positions, found), torch.full((1, 5), 0.5, dtype=torch.float64))


def test_the_ideal_place_has_the_published_bond_and_angles():
    model = made_peptide(SEQUENCE)
    found = cbetas(model)
    positions = model.positions_xyz.astype(np.float64)
    place = ideal_cbeta(torch.from_numpy(positions)[None], found)[0].numpy()
    n, ca, c = positions[found.atoms[:, :3].numpy()].transpose(1, 0, 2)
    assert np.linalg.norm(place - ca, axis=1).tolist() == pytest.approx([1.536, 1.530, 1.540, 1.530, 1.530], abs=1e-6)
    # Both ways of placing CB agree but for the angle N-CA-C of the backbone, so their mean is near each.
    angles = np.degrees([bts.angle(n, ca, place), bts.angle(c, ca, place)])
    assert angles[0].tolist() == pytest.approx([110.6, 103.0, 111.5, 110.5, 110.5], abs=1.0)
    assert angles[1].tolist() == pytest.approx([110.1, 112.2, 109.1, 110.1, 110.1], abs=1.0)


def test_a_mirror_image_is_far_off_and_a_turn_changes_nothing():
    model = made_peptide(SEQUENCE)
    found = cbetas(model)
    images = np.stack([np.eye(3), random_rotation(2), np.diag([1.0, 1.0, -1.0])])
    deviation = cbeta_deviation(torch.from_numpy(model.positions_xyz @ images), found)
    torch.testing.assert_close(deviation[0], deviation[1], atol=1e-5, rtol=0)
    assert (deviation[2] > 1.5).all()


def test_gradient_is_right_and_finite_at_and_off_the_ideal_place():
    model = made_peptide(["ALA", "THR"])
    found = cbetas(model)
    positions = torch.from_numpy(model.positions_xyz).double()[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda xyz: cbeta_deviation(xyz, found), positions)
    for dtype in (torch.float32, torch.float64):
        ideal = positions.detach().to(dtype)
        ideal[:, model.atom_name == ATOM_NAMES.index("CB")] = ideal_cbeta(ideal, found)
        for case in (
            ideal,
            torch.zeros_like(ideal),
            torch.arange(model.n_atoms)[None, :, None] * torch.ones(3).to(dtype),
        ):
            case = case.clone().requires_grad_()
            cbeta_deviation(case, found).sum().backward()
            assert case.grad is not None
            assert torch.isfinite(case.grad).all()
