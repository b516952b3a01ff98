"""Ingest: catalog entries to the system store and its training shards, one Ray Data task per system."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
from ray.util.annotations import RayDeprecationWarning

from cryofound import errors
from cryofound.catalog.entry import CatalogEntry, anchor_of, load_entries
from cryofound.config import Recipe, digest
from cryofound.ensemble.shards import SAMPLES_PER_SHARD, shard_key, write_shard
from cryofound.ensemble.store import SHARDS, STORE_SCHEMA, read_density, read_system, system_folder, write_system
from cryofound.ensemble.system import System
from cryofound.manifest import is_finished, publishing, read_manifest
from cryofound.maps.density_map import Grid
from data_pipeline.stages import build_system, changeable_files, provenance

STORE, CACHE = "store", "cache"


def ingest(recipe: Recipe, home: Path) -> Path:
    """The store of a recipe's entries, `<home>/store-<digest>`: found finished, or made.

    The digest is over the grid, the entries and the files of theirs that may change (a mirror's, a local folder's).
    Ray must have been started. A system that is refused does not keep the others from being finished; then
    CryoFoundError is raised with the first one's line, and a later run goes on with what is missing.
    """
    home = Path(home)
    entries = load_entries(recipe.entries)
    cache = home / CACHE
    files = {entry.system_id: changeable_files(entry, cache) for entry in entries}
    identity = digest(STORE_SCHEMA, recipe.grid, *entries, files)
    store = home / f"{STORE}-{identity}"
    if is_finished(store):
        read_manifest(store)
        print(f"step={STORE} digest={identity} skipped=finished", flush=True)
        return store
    names = [entry.system_id for entry in entries]
    with publishing(store, kind="store", digest=identity, systems=names, grid=recipe.grid.model_dump()) as unfinished:
        _raise_first(_run(entries, recipe, unfinished, cache))
    return store


def _run(entries: Sequence[CatalogEntry], recipe: Recipe, store: Path, cache: Path) -> list[dict[str, str]]:
    """Ingest every entry; one row per system, with an empty error where all went well."""
    rows = [
        {"entry": entry.model_dump_json(), "anchor": anchor_of(entry.family, entries).model_dump_json()}
        for entry in entries
    ]
    grid = Grid.centred(recipe.grid.box_size, recipe.grid.voxel_size)
    task = partial(ingest_row, grid=grid, store=store, cache=cache)
    # One block, and so one task, per system: no Zarr shard has two writers.
    systems = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        # Ray 2.60 wants its named arguments only, but has none for this: without it, a system that kills its worker is
        # tried again for ever.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        tasks = systems.map(task, num_cpus=1, max_retries=1)
    done = []
    for row in tasks.iter_rows():
        done.append(row)
        print(
            f"step={STORE} system={row['system_id']} done={len(done)}/{len(rows)} {row['error']}".rstrip(), flush=True
        )
    return sorted(done, key=lambda row: row["system_id"])


def ingest_row(row: dict[str, Any], *, grid: Grid, store: Path, cache: Path) -> dict[str, str]:
    """Write the system and the training shards of one row unless they are there; errors of the input are returned.

    `row` holds the JSON of an entry and of its family's anchor. Returned rather than raised, an error keeps its one
    line: Ray would wrap it in a traceback and stop the other systems.
    """
    entry, anchor = (CatalogEntry.model_validate_json(row[name]) for name in ("entry", "anchor"))
    folder = system_folder(store, entry.system_id)
    try:
        if not is_finished(folder):
            system, densities = build_system(entry, anchor, grid, cache)
            write_system(folder, system, densities, provenance(entry, anchor, cache))
        write_shards(folder, store / SHARDS)
    except errors.CryoFoundError as error:
        return {"system_id": entry.system_id, "kind": type(error).__name__, "error": str(error)}
    return {"system_id": entry.system_id, "kind": "", "error": ""}


def write_shards(folder: Path, shards: Path) -> None:
    """Write the shards of the system in `folder`: its training states, and none at all of a held-out system."""
    system = read_system(folder)
    rows = [row for row, state in enumerate(system.states) if (system.split, state.split) == ("train", "train")]
    for number, start in enumerate(range(0, len(rows), SAMPLES_PER_SHARD)):
        path = shards / f"{system.system_id}-{number:05d}.tar"
        if not path.exists():
            write_shard(path, (_sample(folder, system, row) for row in rows[start : start + SAMPLES_PER_SHARD]))


def _sample(folder: Path, system: System, row: int) -> tuple[str, np.ndarray, dict[str, Any]]:
    state = system.states[row]
    meta = {
        "system_id": system.system_id,
        "state_id": state.state_id,
        "family": system.family,
        "state_index": row,
        "population": state.population,
        "resolution": state.resolution,
        "voxel_size": system.grid.voxel_size,
    }
    return shard_key(system.system_id, state.state_id), read_density(folder, row), meta


def _raise_first(done: Sequence[dict[str, str]]) -> None:
    refused = [row for row in done if row["error"]]
    if refused:
        kind = getattr(errors, refused[0]["kind"])
        others = ", ".join(row["system_id"] for row in refused[1:])
        raise kind(refused[0]["error"] + (f" (also refused: {others})" if others else ""))
