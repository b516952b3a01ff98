"""Stores compared with their checksums, and what a crash left in them finished or removed."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cryofound.ensemble.shards import index_place
from cryofound.ensemble.store import MAPS, SHARDS, STORE, STORE_SCHEMA, SYSTEMS, array_of, open_system, system_folder
from cryofound.ensemble.writing import PROGRESS, finish_system, is_written, partial_folder, wrong_arrays
from cryofound.errors import StoreError
from cryofound.manifest import NAME, PARTIAL, check_file, is_finished, read_manifest

AGAIN = "run the recipe again to have it made anew"


@dataclass(frozen=True)
class Finding:
    """What is wrong at a place of a store; `harm` says whether anything is lost; `mended` what was done about it."""

    place: Path
    text: str
    harm: bool = True
    mended: str | None = None


def stores_in(home: Path) -> list[Path]:
    """Every store of a home, finished or not, by name."""
    return sorted(path for path in Path(home).glob(f"{STORE}-*") if path.is_dir())


def check_store(store: Path, lock: Path, *, repair: bool = False) -> list[Finding]:
    """All that is wrong with a store, after every file's and every array's checksum was compared.

    With `repair`, systems whose states are all written are finished, leftovers and what is damaged are removed, and a
    store that lost something becomes an unfinished one, which a run of its recipe completes. `lock` is the file that an
    ingest of this store holds; a store in the making is left alone.
    """
    store = Path(store)
    if is_finished(store):
        return _check_finished(store, repair)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return [Finding(store, "is being made now; left alone", harm=False)]
        found = [*_systems(store, sorted(_names(store)), repair), *_unfinished(store, repair)]
        return [*found, Finding(store, "was never finished; run its recipe to go on", harm=False)]


def _check_finished(store: Path, repair: bool) -> list[Finding]:
    try:
        manifest = read_manifest(store, check=False)
    except StoreError as error:
        return [Finding(store, str(error))]
    if manifest.get("schema") != STORE_SCHEMA:
        told = f"schema {manifest.get('schema', 1)}, this program reads {STORE_SCHEMA}; delete it and run again"
        return [Finding(store, told)]
    found = list(_systems(store, manifest["systems"], repair))
    for name, listed in manifest["files"].items():
        path = store / name
        if path.name == NAME and not path.is_file():  # its system has been told of, or removed
            continue
        try:
            check_file(path, listed)
        except StoreError as error:
            found.append(_removed(Finding(path, _first_clause(error)), repair))
    kept = {store / name for name in manifest["files"]}
    for path in sorted((store / SHARDS).rglob("*")):
        if path.is_file() and path not in kept:
            found.append(_removed(Finding(path, "is not in the store's manifest", harm=False), repair))
    if repair and any(each.harm for each in found):
        (store / NAME).unlink()
        os.replace(store, store.with_name(store.name + PARTIAL))
    return found


def _systems(store: Path, names: list[str], repair: bool) -> Iterator[Finding]:
    """Of every finished system: a file that is not what its manifest says, else an array that is not."""
    for name in names:
        folder = system_folder(store, name)
        try:
            read_manifest(folder)
            wrong = wrong_arrays(folder)
        except StoreError as error:
            yield _removed(Finding(folder, _first_clause(error)), repair)
        else:
            if wrong:
                yield _removed(Finding(folder, f"values of {', '.join(wrong[:3])} are not what was written"), repair)


def _names(store: Path) -> Iterator[str]:
    """Ids of the systems that are published in a store."""
    return (path.name for path in (store / SYSTEMS).glob("*") if "." not in path.name)


def _unfinished(store: Path, repair: bool) -> Iterator[Finding]:
    """Systems that are not finished, and files that killed tasks left."""
    for path in sorted((store / SYSTEMS).glob("*.*")):
        folder = path.with_name(path.name.partition(".")[0])
        if path == partial_folder(folder):
            yield _half_made(folder, repair)
        elif path.exists() and not (path.suffix == PROGRESS and partial_folder(folder).is_dir()):
            yield _removed(Finding(path, "was left by a task that was stopped", harm=False), repair)
    for path in sorted((store / SHARDS).rglob("*")):
        complete = path.is_dir() or path.suffix == ".tar" or path.with_suffix(".tar").is_file()
        if PARTIAL in path.name or not complete:
            yield _removed(Finding(path, "was left by a task that was stopped", harm=False), repair)
        elif path.suffix == ".tar" and not Path(index_place(str(path))).is_file():
            yield _removed(Finding(path, "has lost its index"), repair)


def _half_made(folder: Path, repair: bool) -> Finding:
    try:
        maps = array_of(open_system(partial_folder(folder)), MAPS)
    except StoreError as error:
        return _removed(Finding(partial_folder(folder), _first_clause(error)), repair)
    size = (maps.shards or maps.chunks)[0]
    written = sum(
        min(size, maps.shape[0] - first) for first in range(0, maps.shape[0], size) if is_written(folder, first)
    )
    finding = Finding(folder, f"{written} of {maps.shape[0]} states are written", harm=False)
    if repair and written == maps.shape[0]:
        finish_system(folder)
        return replace(finding, mended="finished")
    return finding


def _removed(finding: Finding, repair: bool) -> Finding:
    if not repair:
        return finding
    if finding.place.is_dir():
        shutil.rmtree(finding.place)
    else:
        finding.place.unlink(missing_ok=True)
        if finding.place.suffix == ".json" and finding.harm:  # a tar file is not read without its index
            finding.place.with_suffix(".tar").unlink(missing_ok=True)
    return replace(finding, mended=f"removed; {AGAIN}" if finding.harm else "removed")


def _first_clause(error: StoreError) -> str:
    """An error's text without its advice to delete the whole store."""
    return str(error).partition("; ")[0]
