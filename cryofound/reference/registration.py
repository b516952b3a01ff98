"""The reference brought into the map's frame as one body: refined where roughly docked, searched for where not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cryofound.errors import StructureError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.masks import span
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.poses import Body, Pose, body_of, distinct, levels_of, refined, searched
from cryofound.reference.rigid_fit import solvent_at_zero
from cryofound.structure.atomic_model import AtomicModel

# In zone NCC. In the maps of shared/data right poses are 0.27 ahead of the next and of the mirrored map or more;
# those of wrong models 0.024 ahead of the next at most, and up to 0.06 apart between the hands.
MARGIN = 0.05
MARGIN_TO_CHANCE = 0.1
TIE = 0.005


@dataclass(frozen=True)
class Registration:
    """Where a model lies in a map.

    transform brings the model's frame into the map's. score is `rigid_fit.zone_ncc` at `resolution` (angstrom), which
    is the model's correlation with the map within one resolution of its atoms. runner_up is the score of the next best
    pose that is not the same by symmetry, None where none was looked for. mirrored_score and mirrored_runner_up
    are those of the map reflected in z, None where the hand was not checked.
    """

    transform: RigidTransform
    score: float
    resolution: float
    how: Literal["refined", "searched"]
    runner_up: float | None = None
    mirrored_score: float | None = None
    mirrored_runner_up: float | None = None

    @property
    def stands_out(self) -> bool:
        """Whether the score is ahead of the next pose's, or of what the mirrored map gives by chance.

        The latter alone tells where the map holds several copies of the model, all with the same score.
        """
        if self.mirrored_score is not None:
            if self.score - self.mirrored_score >= MARGIN_TO_CHANCE:
                return True
            if self.mirrored_score - self.score >= MARGIN:
                return False
        return self.runner_up is None or self.score - self.runner_up >= MARGIN

    @property
    def comparison(self) -> str:
        """The scores in words, for a message."""
        others = ((self.runner_up, "another"), (self.mirrored_score, "the best in the mirrored map"))
        told = [f", {name} {score:.3f}" for score, name in others if score is not None]
        return f"no pose stands out: the best has NCC {self.score:.3f}{''.join(told)} at {self.resolution:g} A"

    @property
    def mirrored(self) -> bool:
        """Whether the mirror image of the map fits better by MARGIN, in a pose that stands out there."""
        return self.mirrored_score is not None and self.mirrored_score - MARGIN >= max(
            self.score, self.mirrored_runner_up or -1.0
        )

    @property
    def advice(self) -> str | None:
        """One line for the user if the map has the wrong hand."""
        if not self.mirrored:
            return None
        return (
            f"the mirrored map fits better (NCC {self.mirrored_score:.3f} against {self.score:.3f}): this map has the "
            "wrong hand; flip it along z and register again"
        )


def register(
    model: AtomicModel,
    density: DensityMap,
    *,
    resolution: float,
    roughly_docked: bool | None = None,
    check_hand: bool = True,
) -> Registration:
    """Bring a model into the map's frame as one rigid body; the same on every call.

    `resolution` of the map in angstrom. roughly_docked: True refines the model from where it is (within some 30 degrees
    and 8 angstrom), False searches all orientations and places, None does both and takes the better. check_hand
    searches the mirrored map as well. Raises StructureError for a model that is too small, larger than the map or,
    where all was searched, without a pose that stands out in this map or its mirror image; MapError for a constant
    map.
    """
    body, density = body_of(model), solvent_at_zero(density)
    check_size(body, density, resolution)
    levels = levels_of(body, density, resolution)
    given, found = None, []
    if roughly_docked is not False and _lies_in(body, density):
        given = refined(body, levels, RigidTransform.identity())
        found.append(given)
    elif roughly_docked:
        raise StructureError(
            f"the model's centre lies outside the map, which spans {span(density.grid)}, so it is not roughly docked; "
            "leave roughly_docked out to search the whole map"
        )
    if not roughly_docked:
        found += searched(body, levels)
    ranked = distinct(body, levels[-1], found)
    # Of poses that are equal, as by symmetry, the user's own keeps the chains where they were put.
    best = given if given is not None and given.score >= ranked[0].score - TIE else ranked[0]
    registration = Registration(
        best.transform,
        best.score,
        resolution,
        "refined" if best is given else "searched",
        runner_up_of(ranked),
        *(mirrored_scores(body, density, resolution) if check_hand else (None, None)),
    )
    if not registration.stands_out and not registration.mirrored:
        raise StructureError(
            f"{registration.comparison}; check that model and map belong together, register its chains one by one, or "
            "dock the model roughly by hand"
        )
    return registration


def mirrored_scores(body: Body, density: DensityMap, resolution: float) -> tuple[float, float | None]:
    """The best score and its runner-up in the mirrored map, of which all is searched."""
    levels = levels_of(body, mirrored_in_z(density), resolution)
    ranked = distinct(body, levels[-1], searched(body, levels))
    return ranked[0].score, runner_up_of(ranked)


def mirrored_in_z(density: DensityMap) -> DensityMap:
    """The map reflected in the plane through the middle of its box, across z; its grid stays."""
    return DensityMap(np.ascontiguousarray(density.values_zyx[::-1]), density.grid)


def check_size(body: Body, density: DensityMap, resolution: float) -> None:
    """Raise StructureError if the body cannot lie in the map in any orientation."""
    edges = np.sort(np.array(density.grid.shape_zyx)) * density.grid.voxel_size
    axes = np.linalg.svd(body.beads_xyz - body.centre, full_matrices=False)[2]
    extents = np.sort(np.ptp(body.beads_xyz @ axes.T, axis=0))
    if extents[2] > np.linalg.norm(edges) + resolution or extents.prod() > 2 * edges.prod():
        raise StructureError(
            f"the model extends {' x '.join(f'{each:.0f}' for each in extents)} A, the map only "
            f"{' x '.join(f'{each:.0f}' for each in edges)} A; give the whole map, or the part of the model in it"
        )


def _lies_in(body: Body, density: DensityMap) -> bool:
    low = np.array(density.grid.origin_xyz)
    high = low + density.grid.voxel_size * (np.array(density.grid.shape_zyx[::-1]) - 1)
    return bool(((body.centre >= low) & (body.centre <= high)).all())


def runner_up_of(ranked: Sequence[Pose], copies: int = 1) -> float | None:
    """The score of the first of the distinct poses, best first, that is no copy's; None if there is none."""
    return ranked[copies].score if len(ranked) > copies else None
