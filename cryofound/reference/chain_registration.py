"""A reference brought into the map chain by chain, where the assembly in the map is another than the reference's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from cryofound.errors import StructureError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.masks import zone_mask
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.complexes import chain_rows, joined
from cryofound.reference.placements import Body, body_of, distinct, levels_of, searched
from cryofound.reference.registration import Registration, check_size, mirrored_scores, runner_up_of
from cryofound.reference.rigid_fit import fit, solvent_at_zero, zone_ncc
from cryofound.structure.alignment import align_sequences, sequence_of, superpose
from cryofound.structure.atomic_model import AtomicModel

ALIKE = 0.9  # of the longer chain's residues must be identical for two chains to be copies of one
EXPLAINED = 2.0  # angstrom about docked atoms, half a resolution if that is more; touching chains keep their own
SAMPLES = 30  # CA atoms by which two arrangements are compared


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
    names = list(chain_rows(model))
    chains = [chain_of(model, rows) for rows in chain_rows(model).values()]
    bodies = [body_of(chain) for chain in chains]
    kinds = kinds_of(chains)
    docked: dict[int, Registration] = {}
    mirrored: dict[int, tuple[float | None, float | None]] = {}
    rest = density
    for row in sorted(range(len(chains)), key=lambda row: -chains[row].n_atoms):
        check_size(bodies[row], density, resolution)
        if kinds[row] not in mirrored:
            levels = levels_of(bodies[row], density, resolution)
            mirrored[kinds[row]] = mirrored_scores(bodies[row], levels) if check_hand else (None, None)
        left = sum(kind == kinds[row] and other not in docked for other, kind in enumerate(kinds))
        docked[row] = _docked(names[row], bodies[row], rest, resolution, left, mirrored[kinds[row]])
        rest = _unexplained(rest, docked[row].transform.apply(bodies[row].atoms_xyz), resolution)
    moves = arranged(chains, kinds, [docked[row].transform for row in range(len(chains))])
    working = levels_of(bodies[0], density, resolution)[-1][1]
    registrations, placed = {}, []
    for name, chain, body, (site, start) in zip(names, chains, bodies, moves, strict=True):
        transform, score = fit(*body.points(resolution), working, resolution, start)
        registrations[name] = replace(docked[site], transform=transform, score=score)
        placed.append(chain.moved(transform.apply(chain.positions_xyz)))
    together = joined(placed)
    points, weights = body_of(together).points(resolution)
    return ChainRegistration(registrations, together, zone_ncc(points, weights, working, resolution))


def chain_of(model: AtomicModel, rows: np.ndarray) -> AtomicModel:
    """The residues `rows` of a model, increasing, as a model."""
    atoms = np.isin(model.residue_index, rows)
    return AtomicModel(
        positions_xyz=model.positions_xyz[atoms],
        atom_name=model.atom_name[atoms],
        element=model.element[atoms],
        residue_index=np.searchsorted(rows, model.residue_index[atoms]),
        residue_type=model.residue_type[rows],
        residue_number=model.residue_number[rows],
        chain_id=model.chain_id[rows],
    )


def kinds_of(chains: Sequence[AtomicModel]) -> list[int]:
    """For each chain the row of the first that it is a copy of: ALIKE of the longer one's residues are the same."""
    kinds: list[int] = []
    for row, chain in enumerate(chains):
        alike = (other for other in sorted(set(kinds)) if _identity(chains[other], chain) >= ALIKE)
        kinds.append(next(alike, row))
    return kinds


def arranged(
    chains: Sequence[AtomicModel], kinds: Sequence[int], transforms: Sequence[RigidTransform]
) -> list[tuple[int, RigidTransform]]:
    """For each chain the row of the chain whose place it takes, and the transform that brings it there.

    transforms: of each chain into its own place. Of the arrangements that follow when one chain takes one place and the
    model comes with it, each other chain then the nearest place of its kind (the assignment problem), the one with the
    least mean square distance is chosen.
    """
    samples = [chain.ca_xyz()[:: max(chain.n_residues // SAMPLES, 1)] for chain in chains]
    moves = {
        (row, site): transforms[site].after(_overlay(chains[row], chains[site]))
        for row, kind in enumerate(kinds)
        for site, other in enumerate(kinds)
        if kind == other
    }
    best: tuple[float, list[int]] | None = None
    for whole in moves.values():
        distance = {
            (row, site): float(((whole.apply(samples[row]) - move.apply(samples[row])) ** 2).sum(1).mean())
            for (row, site), move in moves.items()
        }
        total, taken = 0.0, list(range(len(chains)))
        for kind in set(kinds):
            rows = [row for row, other in enumerate(kinds) if other == kind]
            cost = np.array([[distance[row, site] for site in rows] for row in rows])
            for row, site in zip(*linear_sum_assignment(cost), strict=True):
                taken[rows[row]] = rows[site]
            total += sum(distance[row, taken[row]] for row in rows)
        if best is None or total < best[0]:
            best = total, taken
    assert best is not None  # every chain may take its own place
    return [(site, moves[row, site]) for row, site in enumerate(best[1])]


def _docked(
    name: str,
    body: Body,
    density: DensityMap,
    resolution: float,
    copies: int,
    mirrored: tuple[float | None, float | None],
) -> Registration:
    """The best placement of a chain of which `copies` are still to be docked, itself included."""
    levels = levels_of(body, density, resolution)
    ranked = distinct(body, levels[-1], searched(body, levels, copies))
    found = Registration(
        ranked[0].transform, ranked[0].score, resolution, "searched", runner_up_of(ranked, copies), *mirrored
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


def _identity(first: AtomicModel, second: AtomicModel) -> float:
    pairs = align_sequences(sequence_of(first), sequence_of(second))
    same = (first.residue_type[pairs[:, 0]] == second.residue_type[pairs[:, 1]]).sum()
    return float(same) / max(first.n_residues, second.n_residues)


def _overlay(mobile: AtomicModel, fixed: AtomicModel) -> RigidTransform:
    """Brings a chain onto a copy of it."""
    if mobile is fixed:
        return RigidTransform.identity()
    pairs = align_sequences(sequence_of(mobile), sequence_of(fixed))
    return superpose(mobile.ca_xyz()[pairs[:, 0]], fixed.ca_xyz()[pairs[:, 1]])
