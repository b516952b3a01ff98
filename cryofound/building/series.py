"""All maps of a series together: each state is built from the reference, or from the built state nearest to it."""

from collections.abc import Callable, Mapping, Sequence
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
    coarse = [target.coarser(NEARNESS) for target in targets]
    built: dict[int, Built] = {}

    def build(state: int, start_xyz: np.ndarray, source: int) -> np.ndarray:
        built[state] = build_state(what, targets[state], config, start_xyz, source)
        report(f"state={state} from={source} correlation={built[state].correlation:.4f}")
        return built[state].positions_xyz

    _nearest_first(what, coarse, beginnings(what, starts), build)
    return [built[state] for state in range(len(targets))]


def place_series(what: Subject, targets: Sequence[Target], config: BuildConfig) -> list[np.ndarray]:
    """Positions (atom, 3) of every target in their order, in the order of `build_series`, by rigid bodies alone."""
    coarse = [target.coarser(NEARNESS) for target in targets]

    def place(state: int, start_xyz: np.ndarray, source: int) -> np.ndarray:
        return place_state(what, targets[state], config, start_xyz, source)

    models = _nearest_first(what, coarse, beginnings(what, ()), place)
    return [models[state] for state in range(len(targets))]


def _nearest_first(
    what: Subject,
    coarse: Sequence[Target],
    models: Mapping[int, np.ndarray],
    make: Callable[[int, np.ndarray, int], np.ndarray],
) -> dict[int, np.ndarray]:
    """`models` with one for every target, made from the one that is nearest: `make(state, its positions, its number)`.

    coarse: the targets as models are compared with them.
    """
    found = dict(models)
    distance = {
        (state, source): misfit(model, what, near)
        for state, near in enumerate(coarse)
        for source, model in found.items()
    }
    left = set(range(len(coarse)))
    while left:
        state, source = min((pair for pair in distance if pair[0] in left), key=lambda pair: distance[pair])
        found[state] = make(state, found[source], source)
        left.remove(state)
        distance |= {(other, state): misfit(found[state], what, coarse[other]) for other in left}
    return found


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
    """One state from a model to begin with: placed by rigid bodies, then every atom refined.

    Atoms are refined against `sharp`, by default the same target.
    """
    placed = place_state(what, target, config, start_xyz, source)
    near = (sharp or target).within(placed, config.reach)
    positions = refine(placed, what, near, config)
    return Built(positions, source, 1 - misfit(positions, what, near))


def place_state(what: Subject, target: Target, config: BuildConfig, start_xyz: np.ndarray, source: int) -> np.ndarray:
    """Positions (atom, 3) of one state after rigid bodies have moved.

    From another state's model maps are not seen as coarsely as from the reference.

    A start that is near is lost where a map is seen coarsely, one that is far where it is not: the motion is told both
    ways, and the better fit is kept. What lies where the map has no such thing is looked for elsewhere, and kept there
    if the whole fits better.
    """
    coarsest = config.coarsest_between if source >= 0 else config.coarsest
    seen = sorted({max(each, target.resolution) for each in (NEARNESS, coarsest)})
    moves = [fit_motion(start_xyz, what, target, config, each) for each in seen]
    placed = min(moves, key=lambda each: misfit(each, what, target))
    elsewhere = relocated(placed, what, target)
    if elsewhere is None:
        return placed
    again = fit_motion(elsewhere, what, target, config, max(NEARNESS, target.resolution))
    return min(placed, again, key=lambda each: misfit(each, what, target))


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
