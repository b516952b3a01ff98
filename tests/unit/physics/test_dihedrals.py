"""Torsion angles against biotite, and their gradient."""

import biotite.structure as bts
import numpy as np
import pytest
import torch

from cryofound.physics.dihedrals import dihedral


def test_agrees_with_biotite():
    points = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    atoms = torch.tensor([[0, 1, 2, 3], [3, 9, 4, 7]])
    ours = dihedral(points.movedim(0, 1), torch.tensor([[0, 1, 2, 3]]))[:, 0]
    theirs = bts.dihedral(*points.numpy())
    assert ours.numpy() == pytest.approx(theirs, abs=1e-5)
    assert dihedral(points[:, :10], atoms).shape == (4, 2)


@pytest.mark.parametrize("degrees", [-179.0, -60.0, 0.0, 90.0, 150.0])
def test_closed_form_and_gradient(degrees: float):
    angle = np.radians(degrees)
    # seen along the axis, d is turned clockwise by the angle from a
    points = torch.tensor(
        [[[1.0, 0, -0.3], [0, 0, 0], [0, 0, 1.5], [np.cos(angle), np.sin(angle), 2.0]]], dtype=torch.float64
    )
    atoms = torch.tensor([[0, 1, 2, 3]])
    assert dihedral(points, atoms).rad2deg().item() == pytest.approx(degrees, abs=1e-9)
    assert torch.autograd.gradcheck(lambda xyz: dihedral(xyz, atoms), points.requires_grad_())
