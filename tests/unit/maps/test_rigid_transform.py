"""Rigid transforms: composition and inverse."""

import numpy as np

from cryofound.maps.rigid_transform import RigidTransform
from tests.made_proteins import random_rotation


def test_after_and_inverse() -> None:
    points = np.random.default_rng(0).normal(size=(7, 3))
    first = RigidTransform(random_rotation(1), np.array([1.0, 2.0, 3.0]))
    second = RigidTransform(random_rotation(2), np.array([-4.0, 0.0, 9.0]))
    np.testing.assert_allclose(second.after(first).apply(points), second.apply(first.apply(points)))
    np.testing.assert_allclose(first.inverse().apply(first.apply(points)), points)
    np.testing.assert_array_equal(RigidTransform.identity().apply(points), points)
