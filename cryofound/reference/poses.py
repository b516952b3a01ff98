"""Poses of one rigid body in a map: searched over all orientations, fitted from coarse to fine, told apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cryofound.errors import StructureError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.docking_search import local_correlation
from cryofound.reference.rigid_fit import draw, filtered, fit, window, zone_ncc
from cryofound.reference.rotations import spread_rotations
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel

ROTATIONS = 1000  # tried of a body whose coarse resolution is COARSE_SHARE of its radius; 500 found all in shared/data
FEWEST = 500
KEPT = (20, 8, 4)  # poses fitted at the coarse, the middle and the working resolution
COARSEST = 8.0  # angstrom; the coarse resolution for all but large models
COARSE_SHARE = 1 / 3  # of the radius of a ball like the model: at that resolution a fit finds home from 35 degrees off
BEADS_FROM = 6.0  # angstrom; from this resolution on a residue is one point, but for the working resolution
SAME = 0.9  # correlation of two poses' densities from which they are one solution, as by symmetry
MIN_RESIDUES = 10


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


@dataclass(frozen=True)
class Level:
    """The map filtered to `resolution` (angstrom), and whether a residue is drawn there as one point."""

    resolution: float
    density: DensityMap
    beads: bool

    def fit(self, body: Body, start: RigidTransform) -> "Pose":
        """The best pose near `start`, by rigid_fit."""
        points = (body.beads_xyz, body.bead_electrons) if self.beads else (body.atoms_xyz, body.electrons)
        return Pose(*fit(*points, self.density, self.resolution, start))

    def score(self, body: Body, transform: RigidTransform) -> float:
        """The `zone_ncc` of all atoms."""
        return zone_ncc(transform.apply(body.atoms_xyz), body.electrons, self.density, self.resolution)


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
    """The map at a coarse resolution that suits the body, at the working `resolution`, its own, and between them."""
    coarse = max(COARSEST, COARSE_SHARE * body.radius, resolution)
    middle = math.sqrt(coarse * resolution)
    return [
        Level(coarse, filtered(density, resolution, coarse), beads=True),
        Level(middle, filtered(density, resolution, middle), beads=middle >= BEADS_FROM),
        working_level(density, resolution),
    ]


def working_level(density: DensityMap, resolution: float) -> Level:
    """The map at its own resolution, at which poses are compared."""
    return Level(resolution, filtered(density, resolution, resolution), beads=False)


def refined(body: Body, levels: Sequence[Level], start: RigidTransform) -> Pose:
    """The pose reached from `start` by a fit at each level."""
    pose = Pose(start, -1.0)
    for level in levels:
        pose = level.fit(body, pose.transform)
    return pose


def searched(body: Body, levels: Sequence[Level], more: int = 0) -> list[Pose]:
    """The best poses over all orientations and positions, best first, fitted at every level; the same every time.

    `more` than usual are kept, for a map that holds as many further copies.
    """
    coarse = levels[0]
    # The rim moves by the same share of the resolution from one rotation to the next, whatever the size.
    count = int(ROTATIONS * (COARSE_SHARE * body.radius / coarse.resolution) ** 3)
    rotations = spread_rotations(max(count, FEWEST))
    scores, centres = local_correlation(
        body.beads_xyz - body.centre, body.bead_electrons, coarse.density, coarse.resolution, rotations
    )
    found = [
        Pose(RigidTransform(rotations[row], centres[row] - rotations[row] @ body.centre), float(scores[row]))
        for row in np.argsort(-scores, kind="stable")
    ]
    for level, kept in zip(levels, KEPT, strict=True):
        chosen = _apart(body, found, kept + more, level.resolution / 2)
        found = sorted((level.fit(body, each.transform) for each in chosen), key=lambda each: -each.score)
    return found


def distinct(body: Body, level: Level, poses: Sequence[Pose]) -> list[Pose]:
    """Poses whose densities differ, best first; of those with the same, as by symmetry, the best alone."""
    chosen: list[Pose] = []
    for each in sorted(poses, key=lambda each: -each.score):
        here = each.transform.apply(body.atoms_xyz)
        near = window(level.density, here, level.resolution)
        drawn = replace(level, density=DensityMap(draw(here, body.electrons, near.grid, level.resolution), near.grid))
        if all(drawn.score(body, other.transform) < SAME for other in chosen):
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
