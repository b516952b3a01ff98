"""The system store read back: one Zarr group per system, with its maps, masks, reference, states and true atoms.

<store>/manifest.json                       written last; lists the manifests of the systems, and the shards
<store>/systems/<system_id>/manifest.json   lists every file of the system
<store>/systems/<system_id>/zarr.json       schema, states, grid, provenance and the checksum of every array
<store>/systems/<system_id>/maps            (state, z, y, x) float32, one chunk a state
<store>/shards/<subset>/<number>.tar        training samples, see shards.py
"""

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from cryofound.ensemble.system import Outline, State, System
from cryofound.errors import StoreError
from cryofound.manifest import is_finished, read_manifest
from cryofound.maps.density_map import Grid
from cryofound.structure.atomic_model import AtomicModel

STORE, SYSTEMS, SHARDS = "store", "systems", "shards"
STORE_SCHEMA = 2
MAPS, MASKS, TRUTH_XYZ, TRUTH_MASK = "maps", "masks", "truth_xyz", "truth_mask"
MASK_STEPS = 255


def system_folder(store: Path, system_id: str) -> Path:
    """Where the Zarr group of one system lies in a store."""
    return Path(store) / SYSTEMS / system_id


def shard_folder(store: Path, subset: str = "train") -> Path:
    """Where the shards of a subset lie in a store."""
    return Path(store) / SHARDS / subset


def open_store(folder: Path, *, check: bool | Literal["sizes"] = "sizes") -> dict[str, System]:
    """All systems of a finished store by id, sorted; `check` compares sizes, or (True) the checksums of all files.

    Raises StoreError naming what is missing, cut short or changed.
    """
    return {name: read_system(system_folder(folder, name)) for name in checked_systems(folder, check=check)}


def checked_systems(folder: Path, *, check: bool | Literal["sizes"] = "sizes") -> list[str]:
    """The ids of a finished store's systems, all of whose files are as `open_store` wants them."""
    systems = read_manifest(folder, check=check)["systems"]
    for name in systems:
        read_manifest(system_folder(folder, name), check=check)
    return systems


def read_system(folder: Path) -> System:
    """The system that was published in a folder; raises StoreError if it is not there or of another schema."""
    if not is_finished(folder):
        raise StoreError(f"{folder}: not a finished system; delete the store and run again")
    group = open_system(folder)
    outline = read_outline(group)
    truth_mask = read_array(group, TRUTH_MASK)
    truth_xyz = np.where(truth_mask[..., None], read_array(group, TRUTH_XYZ), outline.reference.positions_xyz)
    shared = {field.name: getattr(outline, field.name) for field in fields(Outline)}
    confidence, embedding = (
        read_array(group, name) if name in group else None for name in ("prediction/confidence", "prediction/embedding")
    )
    return System(**shared, truth_xyz=truth_xyz, truth_mask=truth_mask, confidence=confidence, embedding=embedding)


def read_density(folder: Path, row: int) -> np.ndarray:
    """(z, y, x) float32: the map of state number `row` of the system in `folder`."""
    return _of_state(folder, MAPS, row)


def read_mask(folder: Path, row: int) -> np.ndarray | None:
    """(z, y, x) float32 from 0 to 1: the mask of state number `row`; None if no state of the system has one."""
    if MASKS not in open_system(folder):
        return None
    return _of_state(folder, MASKS, row).astype(np.float32) / MASK_STEPS


def read_prediction(folder: Path) -> dict[str, np.ndarray]:
    """Confidence, domains, aligned error and embedding of a predicted reference, as reference/stored.py has them."""
    group = open_system(folder)
    if "prediction" not in group:
        return {}
    inner = group["prediction"]
    assert isinstance(inner, zarr.Group)
    return {name: read_array(inner, name) for name in sorted(inner.array_keys())}


def read_provenance(folder: Path) -> dict[str, Any]:
    """The entry as it was used, the sha256 of every file that was read, and what was done to each map."""
    provenance = open_system(folder).attrs["provenance"]
    assert isinstance(provenance, dict)
    return provenance


def read_outline(group: zarr.Group) -> Outline:
    """The system without its maps, of a group that may still be in the making."""
    facts: dict[str, Any] = dict(group.attrs)
    names = [field.name for field in fields(AtomicModel) if field.name != "chain_id"]
    arrays = {name: read_array(group, f"reference/{name}") for name in names}
    return Outline(
        system_id=facts["system_id"],
        family=facts["family"],
        split=facts["split"],
        reference=AtomicModel(**arrays, chain_id=np.array(facts["chain_id"])),
        family_position=read_array(group, "family_position"),
        states=tuple(State(**state) for state in facts["states"]),
        grid=read_grid(group),
        symmetry=facts.get("symmetry", "C1"),  # a store from before there was one
    )


def read_grid(group: zarr.Group) -> Grid:
    """The canonical grid of a system's maps."""
    grid: dict[str, Any] = group.attrs["grid"]  # type: ignore[assignment]  # zarr calls attributes JSON
    return Grid(tuple(grid["shape_zyx"]), grid["voxel_size"], tuple(grid["origin_xyz"]))


def open_system(folder: Path, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    """The Zarr group of a system; raises StoreError if there is none, or it is of another schema."""
    try:
        group = zarr.open_group(folder, mode=mode)
    except (FileNotFoundError, ValueError) as error:
        raise StoreError(f"{folder}: holds no system ({error}); delete the store and run again") from None
    schema = group.attrs.get("schema")
    if schema != STORE_SCHEMA:
        raise StoreError(f"{folder}: schema {schema}, this program reads {STORE_SCHEMA}; delete the store, run again")
    return group


def read_array(group: zarr.Group, name: str) -> np.ndarray:
    """All values of an array of a group."""
    return np.asarray(array_of(group, name)[...])


def array_of(group: zarr.Group, name: str) -> zarr.Array:
    """The array itself, of which parts can be read."""
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _of_state(folder: Path, name: str, row: int) -> np.ndarray:
    array = array_of(open_system(folder), name)
    if not 0 <= row < array.shape[0]:
        raise StoreError(f"{folder}: has maps 0 to {array.shape[0] - 1}, map {row} was asked for")
    try:
        return np.asarray(array[row])
    except RuntimeError as error:  # what zstd raises when its own checksum of the chunk is not met
        raise StoreError(
            f"{folder}: map {row} is damaged ({error}); mend it with `cryofound store check --repair`"
        ) from None
