"""A system written in parts that several processes may make, each resumable: its outline, its states, its end.

Nothing is ever written over or wiped: files appear whole, by renaming, and the same part is the same bytes whoever
writes it. So a part that is made twice, as by a task that outlives its killed driver, does no harm.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from cryofound.ensemble.store import (
    MAPS,
    MASK_STEPS,
    MASKS,
    STORE_SCHEMA,
    SYSTEMS,
    TRUTH_MASK,
    TRUTH_XYZ,
    array_of,
    open_system,
    read_array,
)
from cryofound.ensemble.system import Outline, StateArrays, System
from cryofound.errors import StoreError
from cryofound.manifest import NAME, PARTIAL, is_finished, read_manifest, write_manifest
from cryofound.maps.density_map import Grid
from cryofound.structure.atomic_model import AtomicModel

STATES_PER_SHARD = 8
SHARD_BYTES = 64 * 2**20  # a shard is written in one go and so is held in memory
PROGRESS = ".progress"
# Density with noise shrinks by a twelfth whatever the level; masked maps to an eighth. zstd's own checksum tells damage
# of a chunk when it is read.
COMPRESSION = ZstdCodec(level=1, checksum=True)


def states_per_shard(grid: Grid) -> int:
    """States in one Zarr shard, which is what one task owns: as many as keep it within SHARD_BYTES."""
    return max(1, min(STATES_PER_SHARD, SHARD_BYTES // (4 * int(np.prod(grid.shape_zyx)))))


def shard_starts(states: int, grid: Grid) -> range:
    """The first state of every Zarr shard of a system."""
    return range(0, states, states_per_shard(grid))


def array_sha256(values: np.ndarray) -> str:
    """Hex digest of an array's values, little-endian in C order: what they are, not how they are stored."""
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return hashlib.sha256(plain.reshape(-1).view(np.uint8).data).hexdigest()


def begin_system(
    folder: Path,
    outline: Outline,
    provenance: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
    *,
    masked: bool = False,
) -> None:
    """Make the group of a system, to be published in `folder`, with all but its states; nothing if it is there.

    `arrays` are stored by their paths in the group; `masked` says whether states may have masks.
    """
    partial = partial_folder(folder)
    if partial.is_dir():
        return
    aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}{PARTIAL}")
    group = zarr.open_group(aside, mode="w", zarr_format=3)
    fixed = {
        **{f"reference/{name}": getattr(outline.reference, name) for name in _MODEL_ARRAYS},
        "family_position": outline.family_position,
        **(arrays or {}),
    }
    for name, values in fixed.items():
        group.create_array(name, data=np.ascontiguousarray(values), compressors=COMPRESSION)
    states, atoms = len(outline.states), outline.reference.n_atoms
    _create_per_state(group, MAPS, "float32", states, outline.grid.shape_zyx, outline.grid)
    _create_per_state(group, TRUTH_XYZ, "float32", states, (atoms, 3), outline.grid)
    _create_per_state(group, TRUTH_MASK, "bool", states, (atoms,), outline.grid)
    if masked:
        _create_per_state(group, MASKS, "uint8", states, outline.grid.shape_zyx, outline.grid)
    group.attrs.update(
        {
            "schema": STORE_SCHEMA,
            "system_id": outline.system_id,
            "family": outline.family,
            "split": outline.split,
            "grid": asdict(outline.grid),
            "symmetry": outline.symmetry,
            "states": [asdict(state) for state in outline.states],
            "chain_id": [str(name) for name in outline.reference.chain_id],
            "provenance": dict(provenance),
            "checksums": {name: array_sha256(np.asarray(values)) for name, values in sorted(fixed.items())},
        }
    )
    try:
        os.rename(aside, partial)
    except OSError:  # another process was first
        shutil.rmtree(aside)


def write_states(
    folder: Path, first: int, states: Sequence[StateArrays], notes: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Write the states of one Zarr shard, numbered from `first`, and the record that says so.

    `notes` (JSON-serialisable) tell for each state what its provenance should: `sha256` of its files and more. The
    caller owns the whole shard: two that write into one lose data.
    """
    partial = partial_folder(folder)
    group = open_system(partial, "r+")
    maps = array_of(group, MAPS)
    last, per_shard = first + len(states), (maps.shards or maps.chunks)[0]
    assert first % per_shard == 0, f"{folder}: state {first} begins no shard of {per_shard}"
    assert last - first == per_shard or last == maps.shape[0], f"{folder}: states {first} to {last} are no whole shard"
    written = {
        MAPS: np.stack([state.density for state in states]).astype(np.float32, copy=False),
        # Zero where unknown, so that it takes no room; `read_system` puts the reference there.
        TRUTH_XYZ: np.stack([np.where(each.truth_mask[:, None], each.truth_xyz, 0) for each in states]),
        TRUTH_MASK: np.stack([state.truth_mask for state in states]),
    }
    if MASKS in group:
        masks = [np.zeros(maps.shape[1:]) if state.mask is None else state.mask for state in states]
        written[MASKS] = np.rint(MASK_STEPS * np.clip(np.stack(masks), 0, 1)).astype(np.uint8)
    for name, values in written.items():
        array_of(group, name)[first:last] = values
    checksums = {name: [array_sha256(each) for each in values] for name, values in written.items()}
    _write_record(folder, _record_name(first), {"checksums": checksums, "notes": list(notes or [{}] * len(states))})


def is_written(folder: Path, first: int) -> bool:
    """Whether the states of the Zarr shard that begins with `first` have been written."""
    return (progress_folder(folder) / _record_name(first)).is_file()


def finish_system(folder: Path) -> None:
    """Publish a system all of whose states are written; raises StoreError naming the first one that is not."""
    partial = partial_folder(folder)
    group = open_system(partial, "r+")
    maps = array_of(group, MAPS)
    starts = range(0, maps.shape[0], (maps.shards or maps.chunks)[0])
    missing = [first for first in starts if not is_written(folder, first)]
    if missing:
        raise StoreError(f"{folder}: state {missing[0]} is not written; run the ingest again")
    records = [json.loads((progress_folder(folder) / _record_name(first)).read_text()) for first in starts]
    facts: dict[str, Any] = dict(group.attrs)
    for name in records[0]["checksums"]:
        facts["checksums"][name] = [each for record in records for each in record["checksums"][name]]
    provenance = facts["provenance"]
    done: dict[str, Any] = {}
    for state, note in zip(facts["states"], (each for record in records for each in record["notes"]), strict=True):
        provenance.setdefault("sha256", {}).update(note.get("sha256", {}))
        rest = {key: value for key, value in note.items() if key != "sha256"}
        done |= {state["state_id"]: rest} if rest else {}
    if done:
        provenance["states"] = done
    group.attrs.update(facts)
    for orphan in partial.rglob(f"*{PARTIAL}"):  # zarr's, of a task that was killed
        orphan.unlink()
    write_manifest(partial, kind="system", system_id=facts["system_id"], identity=provenance.get("identity"))
    os.rename(partial, folder)
    shutil.rmtree(progress_folder(folder), ignore_errors=True)


def write_system(folder: Path, system: System, densities: np.ndarray, provenance: Mapping[str, Any]) -> None:
    """Publish a system and its maps (state, z, y, x) as the Zarr group `folder`, all at once."""
    expected = (len(system.states), *system.grid.shape_zyx)
    if densities.shape != expected:
        raise StoreError(
            f"{folder}: maps have shape {densities.shape}, the system has {expected}; build the system again"
        )
    begin_system(folder, system.outline, provenance)
    for first in shard_starts(len(system.states), system.grid):
        rows = slice(first, first + states_per_shard(system.grid))
        parts = zip(densities[rows], system.truth_xyz[rows], system.truth_mask[rows], strict=True)
        write_states(folder, first, [StateArrays(*each) for each in parts])
    finish_system(folder)


def adopt_system(folder: Path, identity: str) -> bool:
    """Take the system from another store of the same home that holds it with the same identity; whether there is one.

    Its files are shared by hard links where the file system has them: a published system never changes.
    """
    for manifest in sorted(folder.parents[2].glob(f"*/{SYSTEMS}/{folder.name}/{NAME}")):
        try:
            if read_manifest(manifest.parent, check=False).get("identity") != identity:
                continue
            read_manifest(manifest.parent)
        except StoreError:
            continue
        aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}{PARTIAL}")
        shutil.copytree(manifest.parent, aside, copy_function=_link)
        os.rename(aside, folder)
        return True
    return False


def partial_folder(folder: Path) -> Path:
    """Where a system is made that will be published in `folder`."""
    return folder.with_name(folder.name + PARTIAL)


def progress_folder(folder: Path) -> Path:
    """Where the records of the finished parts of a system lie until it is published."""
    return folder.with_name(folder.name + PROGRESS)


def wrong_arrays(folder: Path) -> list[str]:
    """The arrays of a published system, one a state where they have states, whose values are not what was written."""
    assert is_finished(folder)
    group = open_system(folder)
    wrong = []
    checksums: dict[str, Any] = group.attrs["checksums"]  # type: ignore[assignment]  # zarr calls attributes JSON
    for name, expected in checksums.items():
        if isinstance(expected, str):
            wrong += [name] if array_sha256(read_array(group, name)) != expected else []
            continue
        array = array_of(group, name)
        for row, each in enumerate(expected):
            if array_sha256(np.asarray(array[row])) != each:
                wrong.append(f"{name}[{row}]")
    return wrong


_MODEL_ARRAYS = [field.name for field in fields(AtomicModel) if field.name != "chain_id"]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _create_per_state(
    group: zarr.Group, name: str, dtype: str, states: int, shape: tuple[int, ...], grid: Grid
) -> None:
    group.create_array(
        name,
        shape=(states, *shape),
        dtype=dtype,
        chunks=(1, *shape),
        shards=(min(states_per_shard(grid), states), *shape),
        compressors=COMPRESSION,
    )


def _record_name(first: int) -> str:
    return f"{first:06d}.json"


def _write_record(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    progress = progress_folder(folder)
    progress.mkdir(parents=True, exist_ok=True)
    aside = progress / f"{name}.{uuid.uuid4().hex}"
    aside.write_text(json.dumps(content))
    os.replace(aside, progress / name)
