"""A rotation followed by a shift: how one frame lies in another."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RigidTransform:
    """x -> rotation x + shift, both float64, Cartesian: rotation (3, 3) proper orthogonal, shift (3,) angstrom."""

    rotation: np.ndarray
    shift: np.ndarray

    @classmethod
    def identity(cls) -> "RigidTransform":
        return cls(np.eye(3), np.zeros(3))

    def apply(self, positions_xyz: np.ndarray) -> np.ndarray:
        """Positions (..., 3) moved, float64."""
        return np.asarray(positions_xyz, dtype=np.float64) @ self.rotation.T + self.shift

    def inverse(self) -> "RigidTransform":
        return RigidTransform(self.rotation.T, -self.shift @ self.rotation)

    def after(self, first: "RigidTransform") -> "RigidTransform":
        """The transform that does `first`, then this one."""
        return RigidTransform(self.rotation @ first.rotation, self.rotation @ first.shift + self.shift)
