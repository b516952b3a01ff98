"""Progress in a streamed log: whole lines, not too often, with rate and time left."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cryofound.training.curve import read_curve

_POLL_SECONDS = 0.5
_PRINT_SECONDS = 5.0
_WIDTH = 24
_SHOWN = ("total", "ncc")  # the other terms of a loss are in MLflow


def bar(done: int, total: int) -> str:
    """`[######------]  50%  3/6`"""
    filled = _WIDTH * done // total
    return f"[{'#' * filled}{'-' * (_WIDTH - filled)}] {100 * done // total:3d}%  {done}/{total}"


def clock(seconds: float) -> str:
    """`4:05`, or `1:04:05` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def curve_line(name: str, row: dict[str, float], steps: int) -> str:
    """One row of a training curve as the line a user reads."""
    losses = "  ".join(f"{key} {row[key]:.4g}" for key in _SHOWN if key in row)
    rate = f"{row['steps_per_second']:.2f} steps/s  {clock(row['seconds_left'])} left"
    return f"{name} {bar(int(row['step']), steps)}  {rate}  {losses}"


def counting(name: str) -> Callable[[str, int, int, float], None]:
    """A report for data_pipeline.ingest: lines of what is done, how fast and how long it will take, not too often."""
    printed: dict[str, float] = {}

    def report(what: str, done: int, total: int, seconds: float) -> None:
        if done < total and seconds - printed.get(what, 0.0) < _PRINT_SECONDS:
            return
        printed[what] = seconds
        left = seconds / done * (total - done)
        print(f"{name} {what} {bar(done, total)}  {done / max(seconds, 1e-3):.1f}/s  {clock(left)} left", flush=True)

    return report


@contextmanager
def following(folder: Path, name: str, steps: int, on_rows: Callable[[list[dict[str, float]]], None]) -> Iterator[None]:
    """While the block trains in `folder`, print its curve as it grows and hand each new row to `on_rows`, once."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(_follow, folder, name, steps, on_rows, stop)
        try:
            yield
        finally:
            stop.set()
        follower.result()  # raises what the follower met


def _follow(
    folder: Path, name: str, steps: int, on_rows: Callable[[list[dict[str, float]]], None], stop: threading.Event
) -> None:
    seen, printed = -1.0, 0.0
    while True:
        last_look = stop.is_set()
        # A restarted worker logs some steps again, with the same values: only later ones are new.
        rows = [row for row in read_curve(folder) if row["step"] > seen]
        if rows:
            seen = rows[-1]["step"]
            on_rows(rows)
            if seen >= steps or time.monotonic() - printed > _PRINT_SECONDS:
                printed = time.monotonic()
                print(curve_line(name, rows[-1], steps), flush=True)
        if last_look:
            return
        stop.wait(_POLL_SECONDS)
