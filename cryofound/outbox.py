"""Writes that wait, in order, while what takes them is locked or gone; whoever hands them over never waits."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from cryofound.errors import TrackingError

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0


class Outbox:
    """One thread that makes the writes; one that raises TrackingError is tried again until it works or the box closes.

    So a write must be one that does no harm when made twice.
    """

    def __init__(self, warn: Callable[[str], None]):
        """`warn` is told once when writes begin to fail, and when they work again."""
        self._warn = warn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._waiting: list[Future[None]] = []
        self._closed = threading.Event()
        self._refusal: TrackingError | None = None

    @property
    def stuck(self) -> bool:
        """Whether the last write was refused."""
        return self._refusal is not None

    def put(self, write: Callable[[], None]) -> None:
        """Make this write after those before it. Raises what an earlier one raised, unless it was a TrackingError."""
        self._settle(0)
        self._waiting.append(self._thread.submit(self._deliver, write))

    def flush(self, seconds: float) -> None:
        """Wait until all writes are made. Raises TrackingError if some are left after `seconds`; they stay."""
        self._settle(seconds)
        if self._waiting:
            raise self._refusal or TrackingError(f"{len(self._waiting)} writes were not made within {seconds:g} s")

    def close(self, seconds: float) -> None:
        """`flush`, and give up what is left then."""
        try:
            self.flush(seconds)
        finally:
            self._closed.set()
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _settle(self, seconds: float) -> None:
        done, left = wait(self._waiting, timeout=seconds)
        self._waiting = [each for each in self._waiting if each in left]
        for each in done:
            each.result()

    def _deliver(self, write: Callable[[], None]) -> None:
        delay = _FIRST_WAIT
        while True:
            try:
                write()
            except TrackingError as error:
                if self._refusal is None:
                    self._warn(f"{error}; this is tried again while the work goes on")
                self._refusal = error
                if self._closed.wait(delay):
                    return
                delay = min(2 * delay, _LONGEST_WAIT)
            else:
                break
        if self._refusal:
            self._warn("MLflow can be written again")
            self._refusal = None
