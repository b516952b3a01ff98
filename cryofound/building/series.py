"""All maps of a series together: each state is built from the reference, or from the built state nearest to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cryofound.building.fitting import Subject, fit_motion, misfit, refine
from cryofound.building.relocation import relocated
from cryofound.building.target import Target, held_back_blocks
from cryofound.config import BuildConfig

NEARNESS = 8.0  # angstrom at which models are compared with maps to find the nearest
REFERENCE = -1
JUDGED = 6.0  # angstrom about atoms within which fits are judged
BLOCK = 1.0  # edge of the blocks held back, in resolutions


@dataclass(frozen=True)
class Built:
    """One state's model: positions_xyz (atom, 3); came_from, the state it was built from, REFERENCE or a further start
    (REFERENCE - 1 for the first, and so on down); correlation over the voxels within reach."""

    positions_xyz: np.ndarray
    came_from: int
    correlation: float


@dataclass(frozen=True)
class FreeFit:
    """Correlations over the same voxels: of the model that was built into them, and of one that was built without."""

    seen: float
    free: float

    @property
    def gap(self) -> float:
        return self.seen - self.free


def build_series(
    what: Subject,
    targets: Sequence[Target],
    config: BuildConfig,
    starts: Sequence[np.ndarray] = (),
    report: Callable[[str], None] = lambda told: None,
) -> list[Built]:
    """A model for every target, in their order.

    The state that is nearest to a model at hand is built next, from that model: what is many angstrom from the
    reference is reached by way of the states between. `starts` (atom, 3) are further models to begin from, as
    those of a pretrained network.
    """
    models = beginnings(what, starts)
    coarse = [target.coarser(NEARNESS) for target in targets]
    distance = {
        (state, source): misfit(model, what, near)
        for state, near in enumerate(coarse)
        for source, model in models.items()
    }
    built: dict[int, Built] = {}
    while len(built) < len(targets):
        state, source = min((pair for pair in distance if pair[0] not in built), key=lambda pair: distance[pair])
        built[state] = build_state(what, targets[state], config, models[source], source)
        models[state] = built[state].positions_xyz
        report(f"state={state} from={source} correlation={built[state].correlation:.4f}")
        distance |= {
            (other, state): misfit(models[state], what, near) for other, near in enumerate(coarse) if other not in built
        }
    return [built[state] for state in range(len(targets))]


def beginnings(what: Subject, starts: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """Positions (atom, 3) that a series may begin from, by the numbers that `Built.came_from` has for them."""
    further = {REFERENCE - 1 - number: start for number, start in enumerate(starts)}
    return {REFERENCE: what.reference.positions_xyz} | further


def build_state(
    what: Subject,
    target: Target,
    config: BuildConfig,
    start_xyz: np.ndarray,
    source: int,
    sharp: Target | None = None,
) -> Built:
    """One state from a model to begin with; from another state's, maps are not seen as coarsely.

    A start that is near is lost where a map is seen coarsely, one that is far where it is not: the motion is told both
    ways, and the better fit is kept. What lies where the map has no such thing is looked for elsewhere, and kept there
    if the whole fits better.
    Atoms are refined against `sharp`, by default the same target.
    """
    coarsest = config.coarsest_between if source >= 0 else config.coarsest
    seen = sorted({max(each, target.resolution) for each in (NEARNESS, coarsest)})
    moves = [fit_motion(start_xyz, what, target, config, each) for each in seen]
    placed = min(moves, key=lambda each: misfit(each, what, target))
    elsewhere = relocated(placed, what, target)
    if elsewhere is not None:
        again = fit_motion(elsewhere, what, target, config, max(NEARNESS, target.resolution))
        placed = min(placed, again, key=lambda each: misfit(each, what, target))
    near = (sharp or target).within(placed, config.reach)
    positions = refine(placed, what, near, config)
    return Built(positions, source, 1 - misfit(positions, what, near))


def free_fit(what: Subject, target: Target, config: BuildConfig, built: Built, start_xyz: np.ndarray) -> FreeFit:
    """How well a model fits voxels that it was not built into: the same build once more, without blocks of the map.

    Blocks are cubes of one resolution, chosen by chance. While bodies move, the second build sees what lies about them
    in their place, since groups that fit nowhere would hide there; atoms are refined without them. Both models are
    judged by the blocks within reach of the former. start_xyz (atom, 3) is what it was built from.
    """
    blocks = held_back_blocks(target.grid, BLOCK * target.resolution, config.free_share, config.seed)
    bridged, without = target.bridged(blocks), target.without(blocks)
    again = build_state(what, bridged, config, start_xyz, built.came_from, without)
    judged = target.within(built.positions_xyz, JUDGED).without(~blocks)
    return FreeFit(*(1 - misfit(each.positions_xyz, what, judged) for each in (built, again)))


def half_map_fit(
    what: Subject, halves: tuple[Target, Target], config: BuildConfig, built: Built, start_xyz: np.ndarray
) -> FreeFit:
    """The same with half maps: built into the first, judged against the first and against the second."""
    again = build_state(what, halves[0], config, start_xyz, built.came_from)
    parts = (each.within(again.positions_xyz, JUDGED) for each in halves)
    return FreeFit(*(1 - misfit(again.positions_xyz, what, part) for part in parts))
