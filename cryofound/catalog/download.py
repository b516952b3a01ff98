"""One file over HTTP: resumed, retried with back-off, verified, and at its final name only when whole."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
import urllib3

from cryofound.catalog.requesting import PATIENT, Again, Patience, answer, patiently, reason_of, session
from cryofound.errors import SourceError
from cryofound.manifest import file_sha256

PARTIAL = ".partial"
CHUNK = 2**16  # what a broken connection loses at most
GZIP = b"\x1f\x8b"


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    patience: Patience = PATIENT,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Fetch `url` to `target`; what an earlier try left in `<target>.partial` is gone on with.

    The bytes are those that the server has, never unpacked. `progress` is told the bytes so far and, where known, in
    all. A try that brings new bytes gives back all attempts. Raises SourceError with one line: an answer that will not
    change, no answer in time, a checksum other than `sha256` in two downloads from the start, a disk that is full.
    """
    target = Path(target)
    partial = target.with_name(target.name + PARTIAL)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _retried(url, partial, patience, progress)
        if sha256 is not None and file_sha256(partial) != sha256:
            # Perhaps the pieces were of two versions of the file: once more, from the start.
            _discard(partial)
            _retried(url, partial, patience, progress)
            found = file_sha256(partial)
            if found != sha256:
                _discard(partial)
                raise SourceError(f"{url}: sha256 is {found}, {sha256} was expected; correct the one who says so")
        if target.suffix == ".gz" and not _starts_with(partial, GZIP):
            _discard(partial)
            raise SourceError(
                f"{url}: what the server sends is no gzip file (a page of a proxy?); open it in a browser"
            )
        os.replace(partial, target)
        _discard(partial)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"{target}: cannot be written ({reason}); make room or set CRYOFOUND_HOME") from None
    return target


def _retried(url: str, partial: Path, patience: Patience, progress: Callable[[int, int | None], None] | None) -> None:
    with session() as opened:
        patiently(lambda: _try(opened, url, partial, patience, progress), url, patience, lambda: _size(partial))


def _try(
    opened: requests.Session,
    url: str,
    partial: Path,
    patience: Patience,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """One request: `partial` is whole afterwards, or Again is raised and `partial` is what can be gone on with."""
    have, known = _size(partial), _known(partial)
    # Without a tag or a length nothing would tell that the rest is of another file.
    if not have or not any(known.values()):
        _discard(partial)
        have, known = 0, {}
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and known["tag"]:
        headers["If-Range"] = known["tag"]
    with answer(opened, url, headers, patience) as response:
        total = _total(response)
        if response.status_code == 416 and total == have:
            return
        if response.status_code == 416 or (
            response.status_code == 206 and not _goes_on(response, have, known["bytes"])
        ):
            _discard(partial)
            raise Again("the file on the server has changed")
        if response.status_code == 200:
            have = 0
            _remember(partial, response, total)
        elif response.status_code != 206:
            way_out = (
                "check the id and the name of the file" if response.status_code in (404, 410) else "ask the archive"
            )
            raise SourceError(f"{url}: answered {response.status_code} {response.reason}; {way_out}")
        with partial.open("ab" if have else "wb") as stream:
            for chunk in _body(response):
                stream.write(chunk)
                have += len(chunk)
                if progress:
                    progress(have, total)
    if total is not None and have != total:
        raise Again(f"it ended after {have} of {total} bytes")


def _body(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except urllib3.exceptions.ReadTimeoutError:
        raise Again("the server stopped sending") from None
    except urllib3.exceptions.HTTPError as error:
        raise Again(reason_of(error)) from None


def _goes_on(response: requests.Response, have: int, total: int | None) -> bool:
    """Whether a partial answer begins where we stopped, in a file of the same length."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return bool(found) and int(found[1]) == have and (total is None or _total(response) in (None, total))


def _total(response: requests.Response) -> int | None:
    """Length of the whole file, where the server tells it."""
    if response.status_code in (206, 416):
        found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _known(partial: Path) -> dict[str, Any]:
    """What the server said of the file that `partial` is a piece of; empty where that is not known."""
    try:
        known = json.loads(_tag_file(partial).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return known if isinstance(known, dict) and {"tag", "bytes"} <= known.keys() else {}


def _remember(partial: Path, response: requests.Response, total: int | None) -> None:
    etag = response.headers.get("ETag", "")
    # A weak tag may not be used for ranges (RFC 9110, 13.1.5).
    tag = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    partial.unlink(missing_ok=True)
    _tag_file(partial).write_text(json.dumps({"tag": tag, "bytes": total}))


def _tag_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _tag_file(partial).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
