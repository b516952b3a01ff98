"""Ingest: catalog entries to the system store and its training shards.

Four passes, of tasks that each own what they write: the outline of every system, its states (one row per state, a task
has those of one Zarr shard), its end, and the tar files. A pass does what an earlier run has left to do. Who runs the
tasks is `streaming.py`'s affair.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryofound import errors
from cryofound.catalog.locking import locked
from cryofound.disk import room_for
from cryofound.ensemble.splits import SUBSETS, shard_contents
from cryofound.ensemble.store import SHARDS, STORE, STORE_SCHEMA, SYSTEMS, open_system, read_grid, system_folder
from cryofound.ensemble.writing import is_written, partial_folder, shard_starts, states_per_shard
from cryofound.errors import CryoFoundError, StoreError
from cryofound.manifest import NAME, PARTIAL, is_finished, listed_file, write_manifest
from cryofound.maps.density_map import Grid
from data_pipeline import tasks
from data_pipeline.plan import Plan, found
from data_pipeline.tasks import Row, Target, Task

Report = Callable[[str, int, int, float], None]
# (blocks of rows, task, target, whether errors of the program spare the other blocks) to the rows that tasks give back
Stream = Callable[[Sequence[Sequence[Row]], Task, Target, bool], Iterator[Row]]


def no_report(what: str, done: int, total: int, seconds: float) -> None:
    """Tell nobody."""


def ingest(plan: Plan, stream: Stream, *, strict: bool = False, report: Report = no_report) -> Path:
    """The store of a plan (`make_plan`): found finished, or made.

    `stream` runs the tasks: `streaming.ray_stream`, or `streaming.own_stream` for this very process. A system that is
    refused does not keep the others from being finished, unless `strict`; then the error of the first one is raised,
    and a later run goes on with what is missing. `report` is told what is being done, how many of how many are done,
    and seconds since its beginning.
    """
    store = plan.store
    with locked(plan.cache / store.name), room_for("its files", store.parent):
        if found(plan):
            return store
        print(f"step={STORE} digest={plan.identity} systems={len(plan.systems)} states={plan.states}", flush=True)
        target = Target(store.with_name(store.name + PARTIAL), plan.grids, plan.cache)
        (target.store / SYSTEMS).mkdir(parents=True, exist_ok=True)
        _run(plan, _Work(target, stream, strict, report))
    return store


class _Work:
    """Passes over blocks of rows, one task a block, and the first error of every system that was met in them."""

    def __init__(self, target: Target, stream: Stream, strict: bool, report: Report):
        self.target, self.stream, self.strict, self.report = target, stream, strict, report
        self.failed: dict[str, CryoFoundError] = {}

    def run(self, what: str, blocks: Sequence[Sequence[Row]], task: Task) -> list[Row]:
        """The rows that the tasks give back without error; those that fail do not stop the rest."""
        total, began = sum(len(rows) for rows in blocks), time.monotonic()
        found = []
        for done, row in enumerate(self.stream(blocks, task, self.target, not self.strict), start=1):
            self.report(what, done, total, time.monotonic() - began)
            if row["error"]:
                self.refuse(row["system_id"], getattr(errors, row["kind"])(row["error"]))
            elif row["files"]:
                found.append(row)
        return found

    def refuse(self, system_id: str, error: CryoFoundError) -> None:
        """Tell the first error of a system in one line; raise it at once if nothing may fail."""
        if system_id not in self.failed:
            self.failed[system_id] = error
            print(f"step={STORE} system={system_id} refused: {error}", flush=True)
            if self.strict:
                raise error

    def raise_first(self) -> None:
        """Raise the first failure by name, if there is one, with the names of the others."""
        if self.failed:
            first, *others = sorted(self.failed)
            error = self.failed[first]
            raise type(error)(f"{error}" + (f" (also refused: {', '.join(others)})" if others else ""))

    def is_open(self, system_id: str) -> bool:
        """Whether there is still something to do for a system, and nothing known that prevents it."""
        return system_id not in self.failed and not is_finished(system_folder(self.target.store, system_id))


def _run(plan: Plan, work: _Work) -> None:
    """All four passes and the manifest; raises the first failure once the rest is done."""
    store, names = work.target.store, list(plan.systems)
    for name, system in plan.systems.items():
        if system.error:
            work.refuse(name, system.error)
    work.run("outlines", [[tasks.system_row(plan.systems[name])] for name in names if work.is_open(name)], tasks.begin)
    work.run("states", list(_unwritten(plan, work)), tasks.write)
    work.run("systems", [[{"system_id": name}] for name in names if work.is_open(name)], tasks.finish)
    for name in filter(work.is_open, names):
        work.refuse(name, StoreError(f"{name}: a task of it died, Ray's log says why; run again"))
    work.raise_first()
    grids = {name: _grid(plan, system_folder(store, name)) for name in names}
    shards = [
        [{"subset": subset, "number": number, "samples": [f"{name}/{row}" for name, row in samples]}]
        for subset in SUBSETS
        for number, samples in enumerate(shard_contents(plan.samples(subset), grids, plan.shards))
    ]
    files = {}
    for row in work.run("shards", shards, tasks.shard):
        files |= json.loads(row["files"])
    work.raise_first()
    if len(files) != 2 * len(shards):
        raise StoreError(f"{store}: a task that writes shards died, Ray's log says why; run again")
    files |= {f"{SYSTEMS}/{name}/{NAME}": listed_file(system_folder(store, name) / NAME) for name in names}
    _sweep(store, names, set(files))
    facts = {"digest": plan.identity, "schema": STORE_SCHEMA, "states": plan.states, "systems": names}
    sizes = sorted({grid.shape_zyx[0] for grid in grids.values()})
    grid = {"box_size": sizes[0] if len(sizes) == 1 else sizes, "voxel_size": plan.grids[0].voxel_size}
    write_manifest(
        store, files=dict(sorted(files.items())), kind=STORE, **facts, grid=grid, shards=plan.shards.model_dump()
    )
    if plan.store.exists():  # never finished, or damaged: is_finished was asked before
        shutil.rmtree(plan.store)
    os.replace(store, plan.store)


def _unwritten(plan: Plan, work: _Work) -> Iterator[list[Row]]:
    """The rows of every Zarr shard that is not written, one row per state."""
    for name in filter(work.is_open, plan.systems):
        folder, states = system_folder(work.target.store, name), len(plan.systems[name].entry.states)
        if not partial_folder(folder).is_dir():  # the task that begins it died
            continue
        grid = _grid(plan, partial_folder(folder))
        size = states_per_shard(grid)
        for first in shard_starts(states, grid):
            if not is_written(folder, first):
                yield [{"system_id": name, "state": row} for row in range(first, min(first + size, states))]


def _grid(plan: Plan, folder: Path) -> Grid:
    """The grid of the system whose group is `folder`: the recipe's only one, or what `begin` has chosen."""
    return plan.grids[0] if len(plan.grids) == 1 else read_grid(open_system(folder))


def _sweep(store: Path, systems: Sequence[str], files: set[str]) -> None:
    """Remove what killed tasks left beside the systems and the shards."""
    for folder in (store / SYSTEMS).iterdir():
        if folder.name not in systems:
            shutil.rmtree(folder)
    for path in (store / SHARDS).rglob("*"):
        if path.is_file() and path.relative_to(store).as_posix() not in files:
            path.unlink()
