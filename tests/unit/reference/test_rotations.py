"""Rotations are proper, lie evenly, and follow from a vector as scipy says, with the right gradient."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryofound.reference.rotations import rotation_from_vector, spread_rotations


def test_spread_rotations_are_proper_and_leave_no_hole() -> None:
    found = spread_rotations(1000)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.broadcast_to(np.eye(3), found.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found), 1, atol=1e-12)
    probes = Rotation.random(2000, random_state=0).as_matrix()
    cosine = (np.einsum("nij,mij->nm", probes, found) - 1) / 2
    farthest = np.degrees(np.arccos(np.clip(cosine.max(1), -1, 1))).max()
    # As many random rotations leave holes of 40 degrees; balls of 12.5 degrees would fill the space once.
    assert farthest < 26


@pytest.mark.parametrize("length", [0.0, 1e-6, 1e-3, 0.7, 3.1])
def test_a_vector_gives_the_rotation_that_scipy_says(length: float) -> None:
    vector = length * np.array([2.0, -1.0, 2.0]) / 3
    found = rotation_from_vector(torch.from_numpy(vector))
    np.testing.assert_allclose(found.numpy(), Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)


@pytest.mark.parametrize("length", [0.0, 1e-3, 0.7])
def test_its_gradient_is_that_of_differences(length: float) -> None:
    vector = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) * length / 3
    assert torch.autograd.gradcheck(rotation_from_vector, vector.requires_grad_())
