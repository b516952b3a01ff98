"""Requests to servers that may be busy, slow or away: tried with patience, and an error in one line where that ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import requests
import stamina

from cryofound.errors import SourceError

MIRROR = "CRYOFOUND_MIRROR"
USER_AGENT = "CryoFound catalog"
PASSING = (408, 425, 429)  # and all of 500 to 599: the next answer may be another
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to go on: connecting and between two pieces of data (s), tries without progress, waits between (s)."""

    connect_seconds: float = 20.0
    read_seconds: float = 60.0
    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0


PATIENT = Patience()


class Again(Exception):
    """This try failed, the next may not; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def patiently(step: Callable[[], T], url: str, patience: Patience, brought: Callable[[], int]) -> T:
    """The result of `step`, tried until it does not raise Again, or `attempts` times without more being `brought`.

    Waits longer each time, or as long as the server asks for. Raises SourceError with `url` and the last reason.
    """
    failures, most = 0, brought()

    def again(error: Exception) -> bool | float:
        nonlocal failures, most
        if not isinstance(error, Again) or (error.wait or 0) > patience.longest_wait:
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
    except Again as error:
        asked = f", and asks to be left alone for {error.wait:.0f} s" if error.wait else ""
        raise SourceError(
            f"{url}: cannot be downloaded ({error}{asked}); check the connection and run again (it goes on where it "
            f"stopped), or set {MIRROR} to a folder that has the file"
        ) from None
    raise AssertionError("stamina ends with a result or an error")


def fetch_json(url: str, patience: Patience = PATIENT) -> dict[str, Any]:
    """The JSON object that `url` answers with; raises SourceError as `download` does."""

    def ask() -> dict[str, Any]:
        with session() as opened, answer(opened, url, {}, patience) as response:
            if response.status_code != 200:
                raise SourceError(f"{url}: answered {response.status_code} {response.reason}; check the id")
            try:
                content = response.json()
            except (requests.RequestException, ValueError):
                raise Again("the answer is no JSON") from None
            if not isinstance(content, dict):
                raise SourceError(f"{url}: the answer is no JSON object; is this the address of the archive?")
            return content

    return patiently(ask, url, patience, lambda: 0)


@contextmanager
def session() -> Iterator[requests.Session]:
    """Connections that are kept between requests, and answers that are never packed on the way."""
    with requests.Session() as opened:
        # Servers that pack on the fly would make sizes and ranges mean something else.
        opened.headers.update({"Accept-Encoding": "identity", "User-Agent": USER_AGENT})
        yield opened


@contextmanager
def answer(
    opened: requests.Session, url: str, headers: dict[str, str], patience: Patience
) -> Iterator[requests.Response]:
    """The head of an answer that is final; raises Again for one that may change."""
    try:
        response = opened.get(
            url, headers=headers, stream=True, timeout=(patience.connect_seconds, patience.read_seconds)
        )
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Again(reason_of(error)) from None
    except requests.RequestException as error:
        raise SourceError(f"{url}: cannot be asked for ({reason_of(error)}); correct the address") from None
    with response:
        if response.status_code in PASSING or response.status_code >= 500:
            raise Again(f"the server answers {response.status_code} {response.reason}", _retry_after(response))
        yield response


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def reason_of(error: Exception) -> str:
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
