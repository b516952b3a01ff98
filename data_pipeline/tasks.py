"""What one task of an ingest does to the store on disk: rows in, rows out, free of Ray.

Each can be stopped at any moment and run again. What the input is to blame for is returned in the row and not raised:
Ray would wrap it in a traceback and stop the other systems.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cryofound.catalog.entry import CatalogEntry
from cryofound.catalog.loading import source_file
from cryofound.disk import room_for
from cryofound.ensemble.shards import index_place, shard_key, write_shard
from cryofound.ensemble.splits import Subset
from cryofound.ensemble.store import open_system, read_array, read_density, read_outline, shard_folder, system_folder
from cryofound.ensemble.system import Outline
from cryofound.ensemble.writing import (
    adopt_system,
    begin_system,
    finish_system,
    is_written,
    partial_folder,
    write_states,
)
from cryofound.errors import CryoFoundError
from cryofound.manifest import file_sha256, is_finished, listed_file
from cryofound.maps.density_map import Grid
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.canonical import Placement
from data_pipeline.boxes import smallest_grid
from data_pipeline.inputs import file_label, state_files
from data_pipeline.plan import SystemPlan
from data_pipeline.references import prediction_of
from data_pipeline.stages import PlacedReference, build_state, named, outline_of, place

Row = dict[str, Any]
Task = Callable[[Sequence[Row], "Target"], list[Row]]


@dataclass(frozen=True)
class Target:
    """The store in the making, the grids that its systems may have, smallest first, and where sources are kept."""

    store: Path
    grids: tuple[Grid, ...]
    cache: Path


def system_row(plan: SystemPlan) -> Row:
    """The row of `begin`: everything of a system's plan as text."""
    return {
        "system_id": plan.entry.system_id,
        "entry": plan.entry.model_dump_json(),
        "anchor": plan.anchor.model_dump_json(),
        "subset": plan.subset,
        "files": json.dumps(plan.files),
        "identity": plan.identity,
    }


def begin(rows: Sequence[Row], target: Target) -> list[Row]:
    """Place the reference of each system and make its group, unless that is done, or another store has the system."""
    return [_told(row, target, partial(_begin, row, target)) for row in rows]


def write(rows: Sequence[Row], target: Target) -> list[Row]:
    """Build and write consecutive states (system_id, state) that fill one Zarr shard; one row for each."""
    folder, first = system_folder(target.store, rows[0]["system_id"]), rows[0]["state"]
    numbers = [row["state"] for row in rows]
    assert {row["system_id"] for row in rows} == {folder.name}, "a task has states of one system"
    assert numbers == list(range(first, first + len(rows))), "a task has consecutive states"
    told = _told(rows[0], target, partial(_write, folder, numbers, target))
    return [{**told, "state": number} for number in numbers]


def finish(rows: Sequence[Row], target: Target) -> list[Row]:
    """Publish each system whose states are all written."""
    return [_told(row, target, partial(_finish, system_folder(target.store, row["system_id"]))) for row in rows]


def shard(rows: Sequence[Row], target: Target) -> list[Row]:
    """Write each tar file (subset, number, samples) that is not there; what a manifest says of it and of its index."""
    told = []
    for row in rows:
        written: dict[str, Any] = {}
        answer = _told(
            {"system_id": f"shard {row['number']} of {row['subset']}"}, target, partial(_shard, row, target, written)
        )
        told.append({**answer, "files": json.dumps(written)})
    return told


def _told(row: Row, target: Target, work: Callable[[], None]) -> Row:
    told = {"system_id": row["system_id"], "kind": "", "error": "", "files": ""}
    try:
        with room_for("its files", target.store):
            work()
    except CryoFoundError as error:
        told |= {"kind": type(error).__name__, "error": str(error)}
    return told


def _begin(row: Row, target: Target) -> None:
    folder = system_folder(target.store, row["system_id"])
    if is_finished(folder) or partial_folder(folder).is_dir() or adopt_system(folder, row["identity"]):
        return
    entry, anchor = (CatalogEntry.model_validate_json(row[name]) for name in ("entry", "anchor"))
    placed = place(entry, anchor, target.grids[-1], target.cache)
    grid = smallest_grid(entry, placed, target.grids, target.cache)
    with named(entry):
        predicted, origin = prediction_of(entry, placed.own, target.cache)
    files: dict[str, str] = json.loads(row["files"])
    reference = file_label(entry.reference.source, entry.reference.file)
    if reference not in files:
        path = source_file(entry, entry.reference.source, entry.reference.file, target.cache)
        files[reference] = file_sha256(path)
    transform = placed.placement.transform
    provenance: dict[str, Any] = {
        "entry": entry.model_dump(mode="json"),
        "anchor": anchor.system_id,
        "identity": row["identity"],
        "subset": row["subset"],
        "sha256": files,
        "placement": {"rotation": transform.rotation.tolist(), "shift": transform.shift.tolist()},
    }
    if placed.registration:
        provenance["registration"] = dict(placed.registration)
    if origin:
        provenance["prediction"] = origin
    arrays = {
        "placement/own_xyz": placed.own.positions_xyz,
        "placement/core": placed.placement.core,
        **{f"prediction/{name}": values for name, values in predicted.items()},
    }
    split = "train" if row["subset"] == "train" else "held_out"
    masked = entry.mask is not None or any(getattr(state, "mask", None) for state in entry.states)
    begin_system(folder, outline_of(entry, split, placed.placement, grid), provenance, arrays, masked=masked)


def _write(folder: Path, numbers: Sequence[int], target: Target) -> None:
    if is_finished(folder) or is_written(folder, numbers[0]):
        return
    entry, placed, grid, known = _begun(folder)
    arrays, notes = [], []
    for number in numbers:
        state = entry.states[number]
        built = build_state(entry, state, placed, grid, target.cache)
        arrays.append(built.arrays)
        files = {file_label(*each): each for each in state_files(entry, state)}
        read = {
            label: file_sha256(source_file(entry, *each, target.cache))
            for label, each in files.items()
            if label not in known
        }
        known = known | read
        notes.append({**built.notes, **({"sha256": read} if read else {})})
    write_states(folder, numbers[0], arrays, notes)


def _finish(folder: Path) -> None:
    if not is_finished(folder):
        finish_system(folder)


def _shard(row: Row, target: Target, files: dict[str, Any]) -> None:
    """Write one tar file and put into `files` what a manifest says of it."""
    path = shard_folder(target.store, row["subset"]) / f"{row['number']:06d}.tar"
    if not path.is_file():
        systems: dict[str, Outline] = {}
        named_rows = (each.split("/") for each in row["samples"])
        write_shard(path, (_sample(target.store, name, int(each), row["subset"], systems) for name, each in named_rows))
    for each in (path, Path(index_place(str(path)))):
        files[each.relative_to(target.store).as_posix()] = listed_file(each)


def _begun(folder: Path) -> tuple[CatalogEntry, PlacedReference, Grid, dict[str, str]]:
    """Entry, placed reference, grid and known checksums of a system that `begin` has made."""
    group = open_system(partial_folder(folder))
    outline = read_outline(group)
    told: dict[str, Any] = group.attrs["provenance"]  # type: ignore[assignment]  # zarr calls attributes JSON
    transform = RigidTransform(np.array(told["placement"]["rotation"]), np.array(told["placement"]["shift"]))
    core = read_array(group, "placement/core")
    placement = Placement(outline.reference, transform, outline.family_position, core)
    own = outline.reference.moved(read_array(group, "placement/own_xyz"))
    entry = CatalogEntry.model_validate(told["entry"])
    return entry, PlacedReference(own, placement, told.get("registration", {})), outline.grid, told["sha256"]


def _sample(
    store: Path, system_id: str, row: int, subset: Subset, systems: dict[str, Outline]
) -> tuple[str, np.ndarray, dict[str, Any]]:
    folder = system_folder(store, system_id)
    if system_id not in systems:
        systems[system_id] = read_outline(open_system(folder))
    system = systems[system_id]
    state = system.states[row]
    meta = {
        "system_id": system_id,
        "state_id": state.state_id,
        "family": system.family,
        "subset": subset,
        "state_index": row,
        "population": state.population,
        "resolution": state.resolution,
        "voxel_size": system.grid.voxel_size,
    }
    return shard_key(system_id, state.state_id), read_density(folder, row), meta
