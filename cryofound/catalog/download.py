"""One file over HTTP: resumed, retried with back-off, verified, and at its final name only when whole."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import requests
import stamina
import urllib3

from cryofound.errors import SourceError
from cryofound.manifest import file_sha256

MIRROR = "CRYOFOUND_MIRROR"
PARTIAL = ".partial"
USER_AGENT = "CryoFound catalog"
T = TypeVar("T")

CHUNK = 2**16  # what a broken connection loses at most
PASSING = (408, 425, 429)  # and all of 500 to 599: the next answer may be another
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Patience:
    """How long to go on: connecting and between two pieces of data (s), tries without progress, waits between (s)."""

    connect_seconds: float = 20.0
    read_seconds: float = 60.0
    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0


PATIENT = Patience()


class _Again(Exception):
    """This try failed, the next may not; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


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


def fetch_json(url: str, patience: Patience = PATIENT) -> dict[str, Any]:
    """The JSON object that `url` answers with; raises SourceError as `download` does."""

    def ask() -> dict[str, Any]:
        with _session(patience) as session, _answer(session, url, {}, patience) as response:
            if response.status_code != 200:
                raise SourceError(f"{url}: answered {response.status_code} {response.reason}; check the id")
            try:
                content = response.json()
            except (requests.RequestException, ValueError):
                raise _Again("the answer is no JSON") from None
            if not isinstance(content, dict):
                raise SourceError(f"{url}: the answer is no JSON object; is this the address of the archive?")
            return content

    return _patiently(ask, url, patience, lambda: 0)


def _retried(url: str, partial: Path, patience: Patience, progress: Callable[[int, int | None], None] | None) -> None:
    with _session(patience) as session:
        _patiently(lambda: _try(session, url, partial, patience, progress), url, patience, lambda: _size(partial))


def _patiently(step: Callable[[], T], url: str, patience: Patience, brought: Callable[[], int]) -> T:
    """The result of `step`, tried until it does not raise _Again, or `attempts` times without more being `brought`."""
    failures, most = 0, brought()

    def again(error: Exception) -> bool | float:
        nonlocal failures, most
        if not isinstance(error, _Again) or (error.wait or 0) > patience.longest_wait:
            return False
        failures = 1 if brought() > most else failures + 1
        most = max(most, brought())
        return failures < patience.attempts and (error.wait or True)

    try:
        for attempt in stamina.retry_context(
            on=again, attempts=None, timeout=None, wait_initial=patience.first_wait, wait_max=patience.longest_wait,
            wait_jitter=patience.first_wait,
        ):  # fmt: skip
            with attempt:
                return step()
    except _Again as error:
        asked = f", and asks to be left alone for {error.wait:.0f} s" if error.wait else ""
        raise SourceError(
            f"{url}: cannot be downloaded ({error}{asked}); check the connection and run again (it goes on where it "
            f"stopped), or set {MIRROR} to a folder that has the file"
        ) from None
    raise AssertionError("stamina ends with a result or an error")


def _try(
    session: requests.Session,
    url: str,
    partial: Path,
    patience: Patience,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """One request: `partial` is whole afterwards, or _Again is raised and `partial` is what can be gone on with."""
    have, known = _size(partial), _known(partial)
    if not have or not known:
        _discard(partial)
        have, known = 0, {}
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and known["tag"]:
        headers["If-Range"] = known["tag"]
    with _answer(session, url, headers, patience) as response:
        total = _total(response)
        if response.status_code == 416 and total == have:
            return
        if response.status_code == 416 or (
            response.status_code == 206 and not _goes_on(response, have, known["bytes"])
        ):
            _discard(partial)
            raise _Again("the file on the server has changed")
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
        raise _Again(f"it ended after {have} of {total} bytes")


@contextmanager
def _session(patience: Patience) -> Iterator[requests.Session]:
    with requests.Session() as session:
        # Servers that pack on the fly would make sizes and ranges mean something else.
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": USER_AGENT})
        yield session


@contextmanager
def _answer(
    session: requests.Session, url: str, headers: dict[str, str], patience: Patience
) -> Iterator[requests.Response]:
    """The head of an answer that is final; raises _Again for one that may change."""
    try:
        response = session.get(
            url, headers=headers, stream=True, timeout=(patience.connect_seconds, patience.read_seconds)
        )
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Again(_reason(error)) from None
    except requests.RequestException as error:
        raise SourceError(f"{url}: cannot be asked for ({_reason(error)}); correct the address") from None
    with response:
        if response.status_code in PASSING or response.status_code >= 500:
            raise _Again(f"the server answers {response.status_code} {response.reason}", _retry_after(response))
        yield response


def _body(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except urllib3.exceptions.ReadTimeoutError:
        raise _Again("the server stopped sending") from None
    except urllib3.exceptions.HTTPError as error:
        raise _Again(_reason(error)) from None


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


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _reason(error: Exception) -> str:
    """The innermost cause, which says what happened; the layers above it repeat addresses and object names."""
    cause: BaseException = error
    while True:
        inner = cause.__cause__ or cause.__context__ or next(
            (part for part in (getattr(cause, "reason", None), *cause.args) if isinstance(part, BaseException)), None
        )  # fmt: skip
        if inner is None or inner is cause:
            text = getattr(cause, "strerror", None) or " ".join(str(cause).split()) or type(cause).__name__
            return str(text)
        cause = inner


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
