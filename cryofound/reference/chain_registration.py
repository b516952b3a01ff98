"""A reference brought into the map chain by chain, where the assembly in the map is another than the reference's."""

from dataclasses import dataclass, replace

import numpy as np

from cryofound.errors import StructureError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.masks import zone_mask
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.poses import Body, body_of, distinct, levels_of, searched, working_level
from cryofound.reference.registration import Registration, check_size, mirrored_scores, runner_up_of
from cryofound.reference.rigid_fit import solvent_at_zero
from cryofound.structure.alignment import sequence_of, superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chains_of, joined
from cryofound.structure.matching import copies, match_chains

EXPLAINED = 2.0  # angstrom about docked atoms, half a resolution if that is more; touching chains keep their own


@dataclass(frozen=True)
class ChainRegistration:
    """chains: where each chain lies, by its name, in the model's order; placed: the model with its chains there.

    score is the `zone_ncc` of the whole at the map's resolution.
    """

    chains: dict[str, Registration]
    placed: AtomicModel
    score: float

    @property
    def advice(self) -> str | None:
        """One line for the user if the map has the wrong hand."""
        return next((each.advice for each in self.chains.values() if each.advice), None)


def register_chains(
    model: AtomicModel, density: DensityMap, *, resolution: float, check_hand: bool = True
) -> ChainRegistration:
    """Dock each chain into the density that those before it left unexplained, the largest first.

    Copies of a chain take each other's places, so that the arrangement is as near to the model's as the places allow.
    `resolution` of the map in angstrom; the hand is checked once for each kind of chain. The same on every call. Raises
    StructureError as `register` does, naming the chain, and MapError for a constant map.
    """
    density = solvent_at_zero(density)
    chains = chains_of(model)
    bodies = {name: body_of(chain) for name, chain in chains.items()}
    kinds = dict(zip(chains, copies([sequence_of(chain) for chain in chains.values()]), strict=True))
    docked: dict[str, Registration] = {}
    mirrored: dict[int, tuple[float, float | None]] = {}
    rest = density
    for name in sorted(chains, key=lambda name: -chains[name].n_atoms):
        body, kind = bodies[name], kinds[name]
        check_size(body, density, resolution)
        if check_hand and kind not in mirrored:
            mirrored[kind] = mirrored_scores(body, density, resolution)
        left = sum(kinds[other] == kind and other not in docked for other in chains)
        docked[name] = _docked(name, body, rest, resolution, left, mirrored.get(kind, (None, None)))
        rest = _unexplained(rest, docked[name].transform.apply(body.atoms_xyz), resolution)
    places = joined([_moved(chain, docked[name]) for name, chain in chains.items()])
    working = working_level(density, resolution)
    found = {}
    for match in match_chains(model, places):
        rows, their_rows = match.pairs.T
        start = superpose(model.ca_xyz()[rows], places.ca_xyz()[their_rows])
        pose = working.fit(bodies[match.first], start)
        found[match.first] = replace(docked[match.second], transform=pose.transform, score=pose.score)
    placed = joined([_moved(chain, found[name]) for name, chain in chains.items()])
    return ChainRegistration(found, placed, working.score(body_of(placed), RigidTransform.identity()))


def _moved(chain: AtomicModel, registration: Registration) -> AtomicModel:
    return chain.moved(registration.transform.apply(chain.positions_xyz))


def _docked(
    name: str,
    body: Body,
    density: DensityMap,
    resolution: float,
    left: int,
    mirrored: tuple[float | None, float | None],
) -> Registration:
    """The best pose of a chain of which `left` are still to be docked, itself included."""
    levels = levels_of(body, density, resolution)
    ranked = distinct(body, levels[-1], searched(body, levels, left))
    found = Registration(
        ranked[0].transform, ranked[0].score, resolution, "searched", runner_up_of(ranked, left), *mirrored
    )
    if not found.stands_out and not found.mirrored:
        raise StructureError(
            f"chain {name}: {found.comparison}; the density that the chains before it left may not hold it: leave it "
            "out, or check that model and map belong together"
        )
    return found


def _unexplained(density: DensityMap, positions_xyz: np.ndarray, resolution: float) -> DensityMap:
    """The map without what lies near the positions (atom, 3)."""
    near = zone_mask(density.grid, positions_xyz, max(EXPLAINED, resolution / 2))
    return DensityMap(np.where(near, np.float32(0), density.values_zyx), density.grid)
