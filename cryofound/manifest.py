"""The manifest: the list, written last, that makes a folder of data exist."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryofound.errors import StoreError

NAME = "manifest.json"
SCHEMA_VERSION = 1
PARTIAL = ".partial"


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path, **facts: Any) -> None:
    """List every file of `folder` with size and checksum, next to `facts` (JSON-serialisable)."""
    folder = Path(folder)
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    }
    written = folder / (NAME + PARTIAL)
    written.write_text(json.dumps({"schema_version": SCHEMA_VERSION, **facts, "files": files}, indent=1) + "\n")
    os.replace(written, folder / NAME)


def read_manifest(folder: Path, *, check: bool = True) -> dict[str, Any]:
    """The manifest of a folder; with `check`, every listed file is compared with its size and checksum.

    Raises StoreError naming the file that is missing, cut short or changed.
    """
    path = Path(folder) / NAME
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise StoreError(f"{folder}: has no {NAME}, so it was never finished; delete it and run again") from None
    except json.JSONDecodeError as error:
        raise StoreError(f"{path}: damaged ({error}); delete the folder and run again") from None
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(f"{path}: schema {version}, not {SCHEMA_VERSION}; delete the folder and run again")
    for name, listed in manifest["files"].items() if check else ():
        _check_file(Path(folder) / name, listed)
    return manifest


def _check_file(path: Path, listed: dict[str, Any]) -> None:
    if not path.is_file():
        raise StoreError(f"{path}: missing, though its manifest lists it; delete the folder and run again")
    size = path.stat().st_size
    if size != listed["bytes"]:
        raise StoreError(f"{path}: {size} bytes, its manifest says {listed['bytes']}; delete the folder and run again")
    if file_sha256(path) != listed["sha256"]:
        raise StoreError(f"{path}: checksum differs from its manifest; delete the folder and run again")


def is_finished(folder: Path) -> bool:
    """Whether the folder was published whole (its manifest is there)."""
    return (Path(folder) / NAME).is_file()


@contextmanager
def publishing(folder: Path, **facts: Any) -> Iterator[Path]:
    """Give `<folder>.partial` to write in; when the block ends well it gets its manifest and its final name.

    The partial folder is kept from an earlier attempt, so that what is resumable in it can be resumed.
    """
    folder = Path(folder)
    partial = folder.with_name(folder.name + PARTIAL)
    partial.mkdir(parents=True, exist_ok=True)
    yield partial
    write_manifest(partial, **facts)
    if folder.exists():  # never finished, or damaged: is_finished was asked before
        shutil.rmtree(folder)
    os.replace(partial, folder)
