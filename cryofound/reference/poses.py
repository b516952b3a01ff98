"""Poses of one rigid body in a map: searched over all orientations, fitted from coarse to fine, told apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryofound.errors import StructureError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.docking_search import local_correlation
from cryofound.reference.rigid_fit import draw, filtered, fit, window, zone_ncc
from cryofound.reference.rotations import spread_rotations
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel

ROTATIONS = 2000  # tried of a body whose coarse resolution is COARSE_SHARE of its radius; about 20 degrees apart
FEWEST = 500  # about 32 degrees apart
KEPT = (40, 10, 4)  # poses fitted at the coarse, the middle and the working resolution
COARSEST = 8.0  # angstrom; the coarse resolution for all but large models
COARSE_SHARE = 1 / 3  # of the radius of a ball like the model: at that resolution a fit finds home from 35 degrees off
BEADS_FROM = 8.0  # angstrom; from this resolution on a residue is one point
SAME = 0.9  # correlation of two poses' densities from which they are one solution, as by symmetry
MIN_RESIDUES = 10

Level = tuple[float, DensityMap]  # resolution in angstrom, the map filtered to it


@dataclass(frozen=True)
class Body:
    """What is drawn of a model: atoms and residues as points (point, 3) with their electrons (point,), float64."""

    atoms_xyz: np.ndarray
    electrons: np.ndarray
    beads_xyz: np.ndarray
    bead_electrons: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        return self.beads_xyz.mean(0)

    @property
    def radius(self) -> float:
        """Of the ball with the same radius of gyration, angstrom."""
        return float(np.sqrt(5 / 3 * ((self.beads_xyz - self.centre) ** 2).sum(1).mean()))

    def points(self, resolution: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions and weights to draw at a resolution."""
        if resolution >= BEADS_FROM:
            return self.beads_xyz, self.bead_electrons
        return self.atoms_xyz, self.electrons


@dataclass(frozen=True)
class Pose:
    """A rigid motion of a body into the map, and its `zone_ncc` there at the resolution it was fitted at."""

    transform: RigidTransform
    score: float


def body_of(model: AtomicModel) -> Body:
    """The points that stand for a model; raises StructureError for one of fewer than MIN_RESIDUES."""
    if model.n_residues < MIN_RESIDUES:
        raise StructureError(
            f"a model of {model.n_residues} residues cannot be placed by its shape, {MIN_RESIDUES} are needed"
        )
    electrons = np.array([ATOMIC_NUMBERS[each] for each in ELEMENTS], dtype=np.float64)[model.element]
    total = np.bincount(model.residue_index, electrons, model.n_residues)
    means = [
        np.bincount(model.residue_index, electrons * along, model.n_residues) / total for along in model.positions_xyz.T
    ]
    return Body(model.positions_xyz.astype(np.float64), electrons, np.stack(means, axis=1), total)


def levels_of(body: Body, density: DensityMap, resolution: float) -> list[Level]:
    """The map at a coarse resolution that suits the body, at its own `resolution` and at their geometric mean."""
    coarse = max(COARSEST, COARSE_SHARE * body.radius, resolution)
    return [(each, filtered(density, resolution, each)) for each in (coarse, (coarse * resolution) ** 0.5, resolution)]


def refined(body: Body, levels: list[Level], start: RigidTransform) -> Pose:
    """The pose reached from `start` by a fit at each level."""
    pose = Pose(start, -1.0)
    for resolution, density in levels:
        pose = Pose(*fit(*body.points(resolution), density, resolution, pose.transform))
    return pose


def searched(body: Body, levels: list[Level], more: int = 0) -> list[Pose]:
    """The best poses over all orientations and positions, best first, fitted at every level; the same every time.

    `more` than usual are kept, for a map that holds as many further copies.
    """
    coarse, density = levels[0]
    points, weights = body.points(coarse)
    # The rim moves by the same share of the resolution from one rotation to the next, whatever the size.
    rotations = spread_rotations(max(int(ROTATIONS * (COARSE_SHARE * body.radius / coarse) ** 3), FEWEST))
    scores, centres = local_correlation(points - body.centre, weights, density, coarse, rotations)
    found = [
        Pose(RigidTransform(rotations[row], centres[row] - rotations[row] @ body.centre), float(scores[row]))
        for row in np.argsort(-scores, kind="stable")
    ]
    for (resolution, filtered_map), kept in zip(levels, KEPT, strict=True):
        chosen = _apart(body, found, kept + more, resolution / 2)
        points, weights = body.points(resolution)
        fits = (fit(points, weights, filtered_map, resolution, each.transform) for each in chosen)
        found = sorted((Pose(*each) for each in fits), key=lambda each: -each.score)
    return found


def distinct(body: Body, level: Level, poses: Sequence[Pose]) -> list[Pose]:
    """Poses whose densities differ, best first; of those with the same, as by symmetry, the best alone."""
    resolution, density = level
    chosen: list[Pose] = []
    for each in sorted(poses, key=lambda each: -each.score):
        here = each.transform.apply(body.atoms_xyz)
        near = window(density, here, resolution)
        drawn = DensityMap(draw(here, body.electrons, near.grid, resolution), near.grid)
        if all(
            zone_ncc(other.transform.apply(body.atoms_xyz), body.electrons, drawn, resolution) < SAME
            for other in chosen
        ):
            chosen.append(each)
    return chosen


def _apart(body: Body, poses: Sequence[Pose], count: int, distance: float) -> list[Pose]:
    """The first `count` poses of which no two are within `distance` angstrom RMSD."""
    centred = body.beads_xyz - body.centre
    moments = centred.T @ centred / len(centred)
    chosen: list[Pose] = []
    turns, centres = np.zeros((0, 3, 3)), np.zeros((0, 3))
    for each in poses:
        turn, centre = each.transform.rotation, each.transform.apply(body.centre)
        # The mean of |(A - B) x|^2 over points x is the trace of (A - B) <x x^T> (A - B)^T.
        difference = turns - turn
        square = np.einsum("nij,jk,nik->n", difference, moments, difference) + ((centres - centre) ** 2).sum(1)
        if not (square < distance**2).any():
            chosen.append(each)
            turns, centres = np.concatenate([turns, turn[None]]), np.concatenate([centres, centre[None]])
        if len(chosen) == count:
            break
    return chosen
