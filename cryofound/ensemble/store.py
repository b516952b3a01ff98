"""The system store: one Zarr group per system, with its maps, reference, states and true atoms."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from cryofound.ensemble.system import State, System
from cryofound.errors import StoreError
from cryofound.manifest import is_finished, publishing, read_manifest
from cryofound.maps.density_map import Grid
from cryofound.structure.atomic_model import AtomicModel

SYSTEMS, SHARDS = "systems", "shards"
STORE_SCHEMA = 1
STATES_PER_SHARD = 16


def write_system(folder: Path, system: System, densities: np.ndarray, provenance: dict[str, Any]) -> None:
    """Publish a system and its maps (state, z, y, x) as the Zarr group `folder`; provenance is JSON-serialisable.

    The group appears whole or not at all. One caller owns the whole group: two that write into one Zarr shard lose
    data.
    """
    expected = (len(system.states), *system.grid.shape_zyx)
    if densities.shape != expected:
        raise StoreError(
            f"{folder}: maps have shape {densities.shape}, the system has {expected}; build the system again"
        )
    with publishing(folder, kind="system", system_id=system.system_id) as partial:
        group = zarr.open_group(partial, mode="w", zarr_format=3)
        group.attrs.update(_attributes(system, provenance))
        maps = group.create_array(
            "maps",
            shape=densities.shape,
            dtype="float32",
            chunks=(1, *system.grid.shape_zyx),
            shards=(min(STATES_PER_SHARD, len(densities)), *system.grid.shape_zyx),
        )
        maps[:] = np.asarray(densities, dtype=np.float32)
        reference = group.create_group("reference")
        for field in fields(AtomicModel):
            values = getattr(system.reference, field.name)
            if field.name != "chain_id":
                reference.create_array(field.name, data=np.ascontiguousarray(values))
        for name in ("family_position", "truth_xyz", "truth_mask"):
            group.create_array(name, data=np.ascontiguousarray(getattr(system, name)))


def _attributes(system: System, provenance: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": STORE_SCHEMA,
        "system_id": system.system_id,
        "family": system.family,
        "split": system.split,
        "grid": asdict(system.grid),
        "states": [asdict(state) for state in system.states],
        "chain_id": [str(name) for name in system.reference.chain_id],
        "provenance": provenance,
    }


def read_system(folder: Path) -> System:
    """The system that `write_system` published; raises StoreError if it is not there or of another schema."""
    if not is_finished(folder):
        raise StoreError(f"{folder}: not a finished system; delete the store and run again")
    group = zarr.open_group(folder, mode="r")
    facts: dict[str, Any] = dict(group.attrs)
    if facts.get("schema") != STORE_SCHEMA:
        raise StoreError(
            f"{folder}: schema {facts.get('schema')}, this program reads {STORE_SCHEMA}; delete it and run again"
        )
    arrays = {
        field.name: _read(group, f"reference/{field.name}") for field in fields(AtomicModel) if field.name != "chain_id"
    }
    grid = facts["grid"]
    return System(
        system_id=facts["system_id"],
        family=facts["family"],
        split=facts["split"],
        reference=AtomicModel(**arrays, chain_id=np.array(facts["chain_id"])),
        family_position=_read(group, "family_position"),
        states=tuple(State(**state) for state in facts["states"]),
        truth_xyz=_read(group, "truth_xyz"),
        truth_mask=_read(group, "truth_mask"),
        grid=Grid(tuple(grid["shape_zyx"]), grid["voxel_size"], tuple(grid["origin_xyz"])),
    )


def read_density(folder: Path, row: int) -> np.ndarray:
    """(z, y, x) float32: the map of state number `row` of the system in `folder`."""
    maps = zarr.open_group(folder, mode="r")["maps"]
    assert isinstance(maps, zarr.Array)
    if not 0 <= row < maps.shape[0]:
        raise StoreError(f"{folder}: has maps 0 to {maps.shape[0] - 1}, map {row} was asked for")
    return np.asarray(maps[row])


def read_provenance(folder: Path) -> dict[str, Any]:
    """What `write_system` was told about where the system came from."""
    provenance = zarr.open_group(folder, mode="r").attrs["provenance"]
    assert isinstance(provenance, dict)
    return provenance


def open_store(folder: Path, *, check: bool = True) -> dict[str, System]:
    """All systems of a finished store by id, sorted; with `check`, every file's checksum is compared first."""
    manifest = read_manifest(folder, check=check)
    return {name: read_system(system_folder(folder, name)) for name in manifest["systems"]}


def system_folder(store: Path, system_id: str) -> Path:
    """Where the Zarr group of one system lies in a store."""
    return Path(store) / SYSTEMS / system_id


def _read(group: zarr.Group, name: str) -> np.ndarray:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return np.asarray(array[...])
