"""From a catalog entry to a placed reference, and from one of its states to a map: pure functions, free of Ray."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryofound.catalog.entry import (
    CatalogEntry,
    MapState,
    NormalModeState,
    StateEntry,
    StructureState,
    TrajectoryState,
)
from cryofound.catalog.loading import load_reference, load_state, source_file
from cryofound.ensemble.simulation import simulate_map
from cryofound.ensemble.system import Outline, State, StateArrays, System
from cryofound.errors import CryoFoundError
from cryofound.maps.boxes import Triple, cut_box
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import read_map
from cryofound.maps.preprocessing import preprocess
from cryofound.maps.resampling import resample
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.canonical import (
    FamilyFrame,
    Placement,
    check_inside,
    check_map_covers,
    family_frame,
    place_reference,
    place_state,
)
from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows
from cryofound.structure.symmetry import find_symmetry
from data_pipeline.references import fitted_model, registered

SPLINE_REACH = 24  # voxels; a cubic spline's memory of what lies beyond is 1e-14
MOST_VOXELS, MIN_EDGE = 2**24, 8  # of a map, held at a time; of a grid, not divided further


@dataclass(frozen=True)
class PlacedReference:
    """An entry's reference: `own` in the frame of its files (of its maps, once registered), and in the canonical one.

    `registration` says how it came into the maps, empty where it lay there.
    """

    own: AtomicModel
    placement: Placement
    registration: Mapping[str, Any]


@dataclass(frozen=True)
class BuiltState:
    """The arrays of one state, and what its provenance should tell of it."""

    arrays: StateArrays
    notes: Mapping[str, Any]


def place(entry: CatalogEntry, anchor: CatalogEntry, grid: Grid, cache: Path) -> PlacedReference:
    """The reference of an entry in the canonical frame of its family.

    `anchor` is the entry that defines the frame (it may be `entry` itself); `cache` is where sources are kept. Raises a
    CryoFoundError whose line begins with the system's id; StructureError where copies are tied by a symmetry that the
    reference does not have.
    """
    with named(entry):
        own, registration = registered(entry, load_reference(entry, cache), cache)
        placement = place_reference(own, anchor_frame(anchor, cache))
        check_inside(placement.reference.positions_xyz, grid, "reference")
        symmetry = tied_symmetry(entry, placement.reference)
        if symmetry != "C1":
            find_symmetry(placement.reference, symmetry)
        return PlacedReference(own, placement, registration)


def anchor_frame(anchor: CatalogEntry, cache: Path) -> FamilyFrame:
    """The canonical frame that an anchor's reference and training states define."""
    reference = load_reference(anchor, cache)
    # Normal modes are motions of the reference that have no fixed part.
    states = [
        _true_atoms(anchor, state, reference, cache)
        for state in anchor.states
        if state.split == "train" and not isinstance(state, NormalModeState)
    ]
    return family_frame(reference, [state for state in states if state is not None])


def outline_of(entry: CatalogEntry, split: str, placement: Placement, grid: Grid) -> Outline:
    """What is known of a system before its maps are made; `split` is train or held_out."""
    assert split in ("train", "held_out")
    return Outline(
        system_id=entry.system_id,
        family=entry.family,
        split="train" if split == "train" else "held_out",
        reference=placement.reference,
        family_position=placement.family_position,
        states=tuple(
            State(state.state_id, state.population, _resolution(entry, state), state.split) for state in entry.states
        ),
        grid=grid,
        symmetry=tied_symmetry(entry, placement.reference),
    )


def tied_symmetry(entry: CatalogEntry, reference: AtomicModel) -> str:
    """The point group that ties the copies of a reference: the entry's, C1 if they are free or there is but one."""
    return entry.symmetry if entry.copies == "tied" and len(chain_rows(reference)) > 1 else "C1"


def true_state(
    entry: CatalogEntry, state: StructureState | TrajectoryState | NormalModeState, placed: PlacedReference, cache: Path
) -> tuple[AtomicModel, np.ndarray, np.ndarray]:
    """A state given by atoms: all of them in the canonical frame, and those of the reference as `place_state` does."""
    atoms = load_state(entry, state, placed.own, cache)
    assert atoms is not None  # every state that is no map has atoms
    if not isinstance(state, NormalModeState):
        return place_state(atoms, placed.placement)
    # Already in the reference's frame, and a mode leaves no part in place to superpose by.
    there = placed.placement.reference.moved(placed.placement.transform.apply(atoms.positions_xyz))
    return there, there.positions_xyz, np.ones(placed.own.n_atoms, dtype=bool)


def build_state(entry: CatalogEntry, state: StateEntry, placed: PlacedReference, grid: Grid, cache: Path) -> BuiltState:
    """The map of one state on the canonical grid, its mask and its true atoms; raises as `place` does."""
    with named(entry):
        if isinstance(state, MapState):
            return _measured_state(entry, state, placed, grid, cache)
        return BuiltState(_simulated_state(entry, state, placed, grid, cache), {})


def build_system(entry: CatalogEntry, anchor: CatalogEntry, grid: Grid, cache: Path) -> tuple[System, np.ndarray]:
    """The system of an entry in the canonical frame of its family, and its maps (state, z, y, x) float32."""
    placed = place(entry, anchor, grid, cache)
    outline = outline_of(entry, entry.split, placed.placement, grid)
    built = [build_state(entry, state, placed, grid, cache).arrays for state in entry.states]
    system = System(
        **{name: getattr(outline, name) for name in outline.__dataclass_fields__},
        truth_xyz=np.stack([each.truth_xyz for each in built]),
        truth_mask=np.stack([each.truth_mask for each in built]),
    )
    return system, np.stack([each.density for each in built])


def on_grid(density: DensityMap, grid: Grid, transform: RigidTransform) -> np.ndarray:
    """(z, y, x) float32: `resample` of those parts of the map that the grid meets, so that a large map takes no more.

    The spline's coefficients take twice the memory of what they are of; those of a part are the same but for rounding.
    """
    start, shape = _met(density.grid, grid, transform)
    size = max(grid.shape_zyx)
    if math.prod(shape) <= MOST_VOXELS or size < 2 * MIN_EDGE:
        return resample(cut_box(density, start, shape), grid, transform)
    axis = grid.shape_zyx.index(size)
    halves = [_slab(grid, axis, first, last) for first, last in ((0, size // 2), (size // 2, size))]
    return np.concatenate([on_grid(density, half, transform) for half in halves], axis)


def _met(map_grid: Grid, grid: Grid, transform: RigidTransform) -> tuple[Triple, Triple]:
    """(start_zyx, shape_zyx) of the voxels of a map that decide the values on a grid."""
    low, edges = np.array(grid.origin_xyz), grid.voxel_size * (np.array(grid.shape_zyx[::-1]) - 1)
    corners = low + edges * np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    voxels = (transform.inverse().apply(corners) - map_grid.origin_xyz) / map_grid.voxel_size
    shape = np.array(map_grid.shape_zyx)
    start = np.clip(np.floor(voxels.min(0)[::-1]).astype(int) - SPLINE_REACH, 0, shape - 1)
    stop = np.clip(np.ceil(voxels.max(0)[::-1]).astype(int) + SPLINE_REACH + 1, start + 1, shape)
    z, y, x = start.tolist()
    depth, height, width = (stop - start).tolist()
    return (z, y, x), (depth, height, width)


def _slab(grid: Grid, axis: int, first: int, last: int) -> Grid:
    """The voxels first to last (not included) along an array axis of a grid."""
    shape, origin = list(grid.shape_zyx), list(grid.origin_xyz)
    shape[axis] = last - first
    origin[2 - axis] += first * grid.voxel_size
    return Grid((shape[0], shape[1], shape[2]), grid.voxel_size, (origin[0], origin[1], origin[2]))


@contextmanager
def named(entry: CatalogEntry) -> Iterator[None]:
    """Make every CryoFoundError of the block begin with the id of the entry's system."""
    try:
        yield
    except CryoFoundError as error:
        raise type(error)(f"{entry.system_id}: {error}") from error


def _measured_state(
    entry: CatalogEntry, state: MapState, placed: PlacedReference, grid: Grid, cache: Path
) -> BuiltState:
    own, placement = placed.own, placed.placement
    path = source_file(entry, state.source, state.file, cache)
    measured = read_map(path, mapped=True)
    fitted = fitted_model(entry, state, own, cache)
    check_map_covers(measured, (fitted or own).positions_xyz, str(path))
    notes: dict[str, Any] = {}
    if entry.preprocessing:
        measured, facts = preprocess(measured, entry.preprocessing, (fitted or own).positions_xyz)
        notes["preprocessing"] = facts
    if fitted is None:
        transform, truth = placement.transform, placement.reference.positions_xyz
        known = np.zeros(own.n_atoms, dtype=bool)
    else:
        # Maps that were deposited one by one lie each in a frame of its own: the model in them says which.
        placed_model, truth, known = place_state(fitted, placement)
        transform = superpose(fitted.positions_xyz, placed_model.positions_xyz)
    masked = state.mask or entry.mask
    mask = None
    if masked:
        file = source_file(entry, masked.source, masked.file, cache)
        mask = on_grid(read_map(file, mapped=True), grid, transform)
    return BuiltState(StateArrays(on_grid(measured, grid, transform), truth, known, mask), notes)


def _simulated_state(
    entry: CatalogEntry,
    state: StructureState | TrajectoryState | NormalModeState,
    placed: PlacedReference,
    grid: Grid,
    cache: Path,
) -> StateArrays:
    there, truth, known = true_state(entry, state, placed, cache)
    check_inside(there.positions_xyz, grid, f"state {state.state_id}")
    density = simulate_map(there, grid, entry.simulation_of(state), f"{entry.system_id} {state.state_id}")
    return StateArrays(density, truth, known)


def _true_atoms(entry: CatalogEntry, state: StateEntry, reference: AtomicModel, cache: Path) -> AtomicModel | None:
    if isinstance(state, MapState):
        return fitted_model(entry, state, reference, cache)
    return load_state(entry, state, reference, cache)


def _resolution(entry: CatalogEntry, state: StateEntry) -> float:
    return state.resolution if isinstance(state, MapState) else entry.simulation_of(state).resolution
