"""The canonical frame of a family, and how references and states are brought into it.

The anchor's reference is centred on the origin. Its core, the part that moves least between the states that training
may see, is the core of the whole family: every other reference is superposed on the anchor by its residues, and every
state on its own reference. One core for all, because a hinge has two sides: were the fixed side chosen system by
system, the same motion would be written down as two different displacement fields. In a complex the core is the same
part of every copy of a chain, and chains are matched before residues are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryofound.errors import MapError, StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.structure.alignment import (
    MIN_CORE,
    family_positions,
    matched_atoms,
    rigid_core,
    scored_alignment,
    sequence_of,
    superpose,
    superpose_core,
)
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, chains_of
from cryofound.structure.matching import match_chains, matched_residues, related, rows_in_copies

MARGIN_VOXELS = 2.0
CHAIN_GAP = 200  # family positions left free between chains, for tails that the anchor lacks


@dataclass(frozen=True)
class FamilyFrame:
    """The anchor's reference in the canonical frame, and its core (residue,) bool."""

    anchor: AtomicModel
    core: np.ndarray


@dataclass(frozen=True)
class Placement:
    """A reference in the canonical frame.

    transform brings its file's frame here; family_position (residue,) float32 as of `position_in_family`; core
    (residue,) bool.
    """

    reference: AtomicModel
    transform: RigidTransform
    family_position: np.ndarray
    core: np.ndarray


def family_frame(anchor: AtomicModel, states: Sequence[AtomicModel]) -> FamilyFrame:
    """The frame of a family from its anchor's reference and those true states of it that training may see.

    Without states every residue belongs to the core.
    """
    centred = anchor.moved(anchor.positions_xyz - anchor.positions_xyz.mean(0, dtype=np.float64))
    if not states:
        return FamilyFrame(centred, np.ones(anchor.n_residues, dtype=bool))
    matches = [dict(matched_residues(centred, state).tolist()) for state in states]
    shared = np.array([row for row in range(anchor.n_residues) if all(row in match for match in matches)])
    if len(shared) < MIN_CORE:
        raise StructureError(f"the anchor shares {len(shared)} residues with all its states, {MIN_CORE} are needed")
    others = np.stack(
        [state.ca_xyz()[[match[row] for row in shared]] for state, match in zip(states, matches, strict=True)]
    )
    core = np.zeros(anchor.n_residues, dtype=bool)
    core[shared[rigid_core(others, centred.ca_xyz()[shared], rows_in_copies(centred)[shared])]] = True
    return FamilyFrame(centred, core)


def place_reference(reference: AtomicModel, frame: FamilyFrame) -> Placement:
    """Bring a reference into its family's frame; raises StructureError if it shares too little of the family's core."""
    pairs = matched_residues(frame.anchor, reference)
    core_pairs = pairs[frame.core[pairs[:, 0]]]
    if len(core_pairs) < MIN_CORE:
        raise StructureError(
            f"{len(core_pairs)} residues align with the {frame.core.sum()} of the family's core, "
            f"{MIN_CORE} are needed; is this the right family?"
        )
    mobile, fixed = reference.ca_xyz()[core_pairs[:, 1]], frame.anchor.ca_xyz()[core_pairs[:, 0]]
    # With no state to tell what moves, all residues count alike: leaving the far ones out would settle on one side of a
    # hinge, here one and there the other, and put the rest of the molecule where no relative has been.
    transform = superpose(mobile, fixed) if frame.core.all() else superpose_core(mobile, fixed).transform
    core = np.zeros(reference.n_residues, dtype=bool)
    core[core_pairs[:, 1]] = True
    return Placement(
        reference.moved(transform.apply(reference.positions_xyz)),
        transform,
        position_in_family(reference, frame.anchor),
        core,
    )


def position_in_family(reference: AtomicModel, anchor: AtomicModel) -> np.ndarray:
    """(residue,) float32: where each residue falls in the sequences of the family's anchor.

    A residue has the row of its partner in the anchor, inserts lie between their neighbours, tails run on. Where there
    are several chains, each takes the numbers of the anchor's chain that it is matched with; one left over those of the
    chain that it is most like, and one like none numbers beyond the anchor's last. Every further chain of the anchor
    begins CHAIN_GAP numbers after the last one's end.
    """
    anchor_chains, chains = chains_of(anchor), chains_of(reference)
    if len(anchor_chains) == len(chains) == 1:
        return family_positions(matched_residues(anchor, reference), reference.n_residues)
    begins, free = {}, 0
    for name, chain in anchor_chains.items():
        begins[name] = free
        free += chain.n_residues + CHAIN_GAP
    partner = {match.second: match.first for match in match_chains(anchor, reference)}
    position = np.zeros(reference.n_residues, dtype=np.float32)
    for name, rows in chain_rows(reference).items():
        sequence = sequence_of(chains[name])
        alignments = {
            other: scored_alignment(sequence_of(chain), sequence)
            for other, chain in anchor_chains.items()
            if partner.get(name, other) == other and related(sequence_of(chain), sequence)
        }
        if alignments:
            like = max(alignments, key=lambda other: alignments[other][1])
            position[rows] = begins[like] + family_positions(alignments[like][0], len(rows))
        else:
            position[rows] = free + np.arange(len(rows))
            free += len(rows) + CHAIN_GAP
    return position


def place_state(state: AtomicModel, placement: Placement) -> tuple[AtomicModel, np.ndarray, np.ndarray]:
    """Superpose a state on its reference by the core.

    Returns the state in the canonical frame, its positions at the reference's atoms (atom, 3) float32 (where an atom
    is not in the state: the reference's own position) and (atom,) bool that says which atoms are.
    """
    reference = placement.reference
    pairs = matched_residues(reference, state)
    core_pairs = pairs[placement.core[pairs[:, 0]]]
    if len(core_pairs) < MIN_CORE:
        raise StructureError(
            f"{len(core_pairs)} residues of the state align with the reference's core, {MIN_CORE} are needed"
        )
    transform = superpose(state.ca_xyz()[core_pairs[:, 1]], reference.ca_xyz()[core_pairs[:, 0]])
    moved = state.moved(transform.apply(state.positions_xyz))
    return moved, *truth_of(moved, reference, pairs)


def truth_of(state: AtomicModel, reference: AtomicModel, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a placed state at the reference's atoms, and which of them it has; `pairs` are residue rows."""
    atoms = matched_atoms(reference, state, pairs)
    truth = reference.positions_xyz.astype(np.float32).copy()
    truth[atoms[:, 0]] = state.positions_xyz[atoms[:, 1]]
    mask = np.zeros(reference.n_atoms, dtype=bool)
    mask[atoms[:, 0]] = True
    return truth, mask


def is_inside(positions_xyz: np.ndarray, grid: Grid) -> bool:
    """Whether all atoms (..., 3) stay MARGIN_VOXELS away from the edge of a canonical grid."""
    return _reach(positions_xyz, grid) <= 0.5 * grid.shape_zyx[0] * grid.voxel_size


def check_inside(positions_xyz: np.ndarray, grid: Grid, what: str) -> None:
    """Raise MapError if an atom (..., 3) comes nearer than MARGIN_VOXELS to the edge of a canonical grid."""
    if not is_inside(positions_xyz, grid):
        reach, voxels = _reach(positions_xyz, grid), grid.shape_zyx[0]
        needed = int(np.ceil(2 * reach / grid.voxel_size / 8)) * 8
        raise MapError(
            f"{what}: box of {voxels} voxels of {grid.voxel_size} A ({voxels * grid.voxel_size:.0f} A) is smaller "
            f"than the protein, which needs {2 * reach:.0f} A; set grid.box_size to {needed}"
        )


def _reach(positions_xyz: np.ndarray, grid: Grid) -> float:
    """Half the edge in angstrom of the smallest centred box that holds atoms (..., 3) with their margin."""
    return float(np.abs(positions_xyz).max()) + MARGIN_VOXELS * grid.voxel_size


def check_map_covers(density: DensityMap, positions_xyz: np.ndarray, what: str) -> None:
    """Raise MapError if an atom (atom, 3), in the map's frame, lies outside the map's box."""
    grid = density.grid
    size = np.array(grid.shape_zyx[::-1]) * grid.voxel_size
    lower = np.array(grid.origin_xyz) - 0.5 * grid.voxel_size
    below, above = positions_xyz.min(0) - lower, lower + size - positions_xyz.max(0)
    if min(below.min(), above.min()) < 0:
        extent = positions_xyz.max(0) - positions_xyz.min(0)
        raise MapError(
            f"{what}: box of {' x '.join(f'{each:.0f}' for each in size)} A does not hold the protein of "
            f"{' x '.join(f'{each:.0f}' for each in extent)} A ({max(-below.min(), -above.min()):.1f} A stick out); "
            "give the whole map, or a reference that lies in it"
        )
