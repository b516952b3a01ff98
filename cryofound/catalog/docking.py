"""Whether a reference lies roughly where the map has its density, told before anything is fitted."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from cryofound.maps.density_map import DensityMap

TURNS = 20
INSIDE = 0.9


@dataclass(frozen=True)
class Docking:
    """`inside`: share of CA atoms in the box. `density`: mean density at them, in standard deviations above the map's
    mean. `turned`: the highest such mean of TURNS random rotations of the reference about its centre.
    """

    inside: float
    density: float
    turned: float

    @property
    def docked(self) -> bool:
        """Whether the reference lies in the box and meets more density than it does turned at random."""
        return self.inside >= INSIDE and self.density > max(self.turned, 0.0)


def docking(density: DensityMap, ca_xyz: np.ndarray) -> Docking:
    """How CA positions (residue, 3) angstrom meet the density at the nearest voxels; outside the box it is zero."""
    values, grid = density.values_zyx, density.grid
    mean, sd = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    ca = np.asarray(ca_xyz, dtype=np.float64)
    centre = ca.mean(0)

    def met(positions_xyz: np.ndarray) -> tuple[float, float]:
        rows = np.rint((positions_xyz - grid.origin_xyz) / grid.voxel_size).astype(int)[:, ::-1]
        there = ((rows >= 0) & (rows < grid.shape_zyx)).all(1)
        z, y, x = rows[there].T
        total = float(values[z, y, x].sum(dtype=np.float64)) if there.any() else 0.0
        height = (total / len(rows) - mean) / sd if sd > 0 else 0.0
        return float(there.mean()), height

    inside, height = met(ca)
    rotations = Rotation.random(TURNS, random_state=np.random.default_rng(0))
    turned = max(met(rotation.apply(ca - centre) + centre)[1] for rotation in rotations)
    return Docking(inside, height, turned)
