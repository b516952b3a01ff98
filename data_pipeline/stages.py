"""From a catalog entry to a system with its maps: pure functions of one entry, free of Ray."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from cryofound.catalog.entry import CatalogEntry, MapState, NormalModeState, Simulation, StateEntry, TrajectoryState
from cryofound.catalog.loading import load_reference, load_state, source_file
from cryofound.catalog.sources import is_changeable
from cryofound.ensemble.system import State, System
from cryofound.errors import CryoFoundError
from cryofound.manifest import file_sha256
from cryofound.maps.density_map import Grid
from cryofound.maps.mrc import read_map
from cryofound.maps.resampling import resample
from cryofound.physics.density import render_gaussian
from cryofound.reference.canonical import (
    FamilyFrame,
    Placement,
    check_inside,
    check_map_covers,
    family_frame,
    place_reference,
    place_state,
)
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel

NOISE_REACH = 3.0
_NUMBER_OF_ELEMENT = np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS], dtype=np.float32)


def build_system(entry: CatalogEntry, anchor: CatalogEntry, grid: Grid, cache: Path) -> tuple[System, np.ndarray]:
    """The system of an entry in the canonical frame of its family, and its maps (state, z, y, x) float32.

    `anchor` is the entry that defines the frame (it may be `entry` itself); `cache` is where sources are kept.
    Raises a CryoFoundError whose line begins with the system's id.
    """
    try:
        return _build(entry, anchor, grid, Path(cache))
    except CryoFoundError as error:
        raise type(error)(f"{entry.system_id}: {error}") from error


def anchor_frame(anchor: CatalogEntry, cache: Path) -> FamilyFrame:
    """The canonical frame that an anchor's reference and training states define."""
    reference = load_reference(anchor, cache)
    states = [
        load_state(anchor, state, reference, cache)
        for state in anchor.states
        # Normal modes are motions of the reference that have no fixed part; maps have no atoms.
        if state.split == "train" and not isinstance(state, NormalModeState | MapState)
    ]
    return family_frame(reference, [state for state in states if state is not None])


def simulate_map(model: AtomicModel, grid: Grid, simulation: Simulation, name: str) -> np.ndarray:
    """(z, y, x) float32: the model's density with white noise; `name` and the simulation's seed decide the noise."""
    positions = torch.from_numpy(np.ascontiguousarray(model.positions_xyz, dtype=np.float32))[None]
    amplitudes = torch.from_numpy(_NUMBER_OF_ELEMENT[model.element])[None]
    density = render_gaussian(positions, amplitudes, grid, simulation.resolution)[0].numpy()
    if simulation.noise == 0:
        return density
    inside = within_reach(model.positions_xyz, grid, NOISE_REACH)
    seed = int.from_bytes(hashlib.sha256(f"{simulation.seed} {name}".encode()).digest()[:8], "little")
    noise = np.random.default_rng(seed).standard_normal(density.shape, dtype=np.float32)
    return density + np.float32(simulation.noise * density[inside].std()) * noise


def within_reach(positions_xyz: np.ndarray, grid: Grid, reach: float) -> np.ndarray:
    """(z, y, x) bool: voxels nearer than `reach` angstrom to an atom (atom, 3)."""
    x, y, z = (
        start + grid.voxel_size * np.arange(size)
        for start, size in zip(grid.origin_xyz, grid.shape_zyx[::-1], strict=True)
    )
    centres = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    return np.isfinite(cKDTree(positions_xyz).query(centres, distance_upper_bound=reach)[0])


def _build(entry: CatalogEntry, anchor: CatalogEntry, grid: Grid, cache: Path) -> tuple[System, np.ndarray]:
    own = load_reference(entry, cache)
    placement = place_reference(own, anchor_frame(anchor, cache))
    check_inside(placement.reference.positions_xyz, grid, "reference")
    truths, masks, maps, states = [], [], [], []
    for state in entry.states:
        truth, mask, density, resolution = _build_state(entry, state, own, placement, grid, cache)
        truths.append(truth)
        masks.append(mask)
        maps.append(density)
        states.append(State(state.state_id, state.population, resolution, state.split))
    system = System(
        system_id=entry.system_id,
        family=entry.family,
        split=entry.split,
        reference=placement.reference,
        family_position=placement.family_position,
        states=tuple(states),
        truth_xyz=np.stack(truths),
        truth_mask=np.stack(masks),
        grid=grid,
    )
    return system, np.stack(maps)


def _build_state(
    entry: CatalogEntry, state: StateEntry, own: AtomicModel, placement: Placement, grid: Grid, cache: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Truth (atom, 3), its mask (atom,), map (z, y, x) and resolution of one state; `own` is the reference as in its
    file.
    """
    if isinstance(state, MapState):
        path = source_file(entry, state.source, state.file, cache)
        measured = read_map(path)
        check_map_covers(measured, own.positions_xyz, str(path))
        unknown = np.zeros(own.n_atoms, dtype=bool)
        values = resample(measured, grid, placement.transform)
        return placement.reference.positions_xyz, unknown, values, state.resolution
    atoms = load_state(entry, state, own, cache)
    assert atoms is not None  # every state that is no map has atoms
    if isinstance(state, NormalModeState):
        # Already in the reference's frame, and a mode leaves no part in place to superpose by.
        placed = placement.reference.moved(placement.transform.apply(atoms.positions_xyz))
        truth, mask = placed.positions_xyz, np.ones(own.n_atoms, dtype=bool)
    else:
        placed, truth, mask = place_state(atoms, placement)
    check_inside(placed.positions_xyz, grid, f"state {state.state_id}")
    density = simulate_map(placed, grid, entry.simulation, f"{entry.system_id} {state.state_id}")
    return truth, mask, density, entry.simulation.resolution


def provenance(entry: CatalogEntry, anchor: CatalogEntry, cache: Path) -> dict[str, Any]:
    """The entry as it was used, its anchor's name, and the checksum of every file that was read."""
    return {
        "entry": entry.model_dump(mode="json"),
        "anchor": anchor.system_id,
        "sha256": {_label(*place): file_sha256(source_file(entry, *place, cache)) for place in _files(entry)},
    }


def changeable_files(entry: CatalogEntry, cache: Path) -> dict[str, str]:
    """Checksums of those files of an entry that its text does not pin down: a mirror's and a local folder's."""
    return {
        _label(*place): file_sha256(source_file(entry, *place, cache))
        for place in _files(entry)
        if is_changeable(entry.sources[place[0]])
    }


def _files(entry: CatalogEntry) -> list[tuple[str, str | None]]:
    """(source, file) of every file that an entry names, once each."""
    named = [(entry.reference.source, entry.reference.file)]
    for state in entry.states:
        if not isinstance(state, NormalModeState):
            named.append((state.source, state.file))
        if isinstance(state, TrajectoryState):
            named.append((state.source, state.topology))
    return list(dict.fromkeys(named))


def _label(source: str, file: str | None) -> str:
    return f"{source}:{file or ''}"
