"""The manifest: the list, written last, that makes a folder of data exist."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from cryofound.disk import room_for
from cryofound.errors import StoreError

NAME = "manifest.json"
SCHEMA_VERSION = 1
PARTIAL = ".partial"
WAY_OUT = "delete the folder and run again"


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def listed_file(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: its size and checksum."""
    return {"bytes": Path(path).stat().st_size, "sha256": file_sha256(path)}


def write_manifest(folder: Path, *, files: Mapping[str, Mapping[str, Any]] | None = None, **facts: Any) -> None:
    """List every file of `folder` with size and checksum, next to `facts` (JSON-serialisable).

    `files` (path inside the folder to `listed_file`) are listed instead where they are known: those of a part that has
    a manifest of its own need not be.
    """
    folder = Path(folder)
    if files is None:
        files = {
            path.relative_to(folder).as_posix(): listed_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != NAME
        }
    written = folder / (NAME + PARTIAL)
    written.write_text(json.dumps({"schema_version": SCHEMA_VERSION, **facts, "files": files}, indent=1) + "\n")
    os.replace(written, folder / NAME)


def read_manifest(folder: Path, *, check: bool | Literal["sizes"] = True, way_out: str = WAY_OUT) -> dict[str, Any]:
    """The manifest of a folder; with `check`, every listed file is compared with its size and checksum, or size alone.

    Raises StoreError naming the file that is missing, cut short or changed, and `way_out`.
    """
    path = Path(folder) / NAME
    try:
        manifest = json.loads(path.read_text())
        version, files = manifest.get("schema_version"), manifest.get("files")
    except FileNotFoundError:
        raise StoreError(f"{folder}: has no {NAME}, so it was never finished; delete it and run again") from None
    except (ValueError, AttributeError) as error:  # no JSON, no text, no object
        raise StoreError(f"{path}: damaged ({error}); {way_out}") from None
    if version != SCHEMA_VERSION:
        raise StoreError(f"{path}: schema {version}, not {SCHEMA_VERSION}; {way_out}")
    if not isinstance(files, dict):
        raise StoreError(f"{path}: damaged (it lists no files); {way_out}")
    for name, listed in files.items() if check else ():
        check_file(Path(folder) / name, listed, sizes_only=check == "sizes", way_out=way_out)
    return manifest


def check_file(path: Path, listed: Mapping[str, Any], *, sizes_only: bool = False, way_out: str = WAY_OUT) -> None:
    """Raise StoreError if a file is not what its manifest says of it (`listed_file`)."""
    if not path.is_file():
        raise StoreError(f"{path}: missing, though its manifest lists it; {way_out}")
    size = path.stat().st_size
    if size != listed.get("bytes"):
        raise StoreError(f"{path}: {size} bytes, its manifest says {listed.get('bytes')}; {way_out}")
    if not sizes_only and file_sha256(path) != listed.get("sha256"):
        raise StoreError(f"{path}: checksum differs from its manifest; {way_out}")


def is_finished(folder: Path) -> bool:
    """Whether the folder was published whole (its manifest is there)."""
    return (Path(folder) / NAME).is_file()


@contextmanager
def publishing(folder: Path, *, resumable: bool = True, **facts: Any) -> Iterator[Path]:
    """Give `<folder>.partial` to write in; when the block ends well it gets its manifest and its final name.

    The partial folder is kept from an earlier attempt, so that what is resumable in it can be resumed; if nothing is,
    each begins anew and leaves nothing when it fails. Raises StoreError where the disk is full.
    """
    folder = Path(folder)
    partial = folder.with_name(folder.name + PARTIAL)
    if not resumable:
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with room_for("its files", partial):
            yield partial
            write_manifest(partial, **facts)
    except BaseException:
        if not resumable:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():  # never finished, or damaged: is_finished was asked before
        shutil.rmtree(folder)
    os.replace(partial, folder)
