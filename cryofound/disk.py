"""A disk that is full or closed, told in one line: what could not be written, how much it needs, how much there is."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from cryofound.errors import StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the file system, a quota, a limit on the size of a file


@contextmanager
def room_for(what: str, folder: Path, needed: int = 0, *, discard: bool = False) -> Iterator[None]:
    """Raise StoreError if the block fails for want of room in `folder` for `what`, about `needed` bytes (0: unknown).

    torch and safetensors tell of a full disk in words of their own, so where bytes are given and they fail, the file
    system itself is asked for that much room. With `discard` the folder then gives back the room that it took. Every
    other error passes as it is.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else _refused(Path(folder), needed)
        if number not in _FULL:
            raise
        if discard:
            shutil.rmtree(folder, ignore_errors=True)
        raise StoreError(_no_room(what, Path(folder), needed, number)) from error


def make_parent(out: Path) -> None:
    """Make the folder that `out` is to lie in; raises StoreError if it cannot be written to."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        denied = None if os.access(out.parent, os.W_OK) else "Permission denied"
    except OSError as error:
        denied = error.strerror
    if denied:
        raise StoreError(f"{out.parent}: cannot be written to ({denied}); choose another folder with --out")


def _no_room(what: str, folder: Path, needed: int, number: int) -> str:
    status = os.statvfs(next(path for path in (folder, *folder.parents) if path.exists()))
    free = f"{status.f_bavail * status.f_frsize / 2**20:.3g} MiB"
    need = f" of about {needed / 2**20:.3g} MiB" if needed else ""
    return (
        f"{folder}: no room for {what}{need}: {os.strerror(number)}, {free} are free; make room and run again, "
        "it goes on from what is finished"
    )


def _refused(folder: Path, needed: int) -> int | None:
    """The errno with which the file system refuses a file of so many bytes, None if it has room."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        with probe.open("wb") as stream:
            if needed:
                os.posix_fallocate(stream.fileno(), 0, needed)
    except OSError as error:
        return error.errno
    finally:
        probe.unlink(missing_ok=True)
    return None
