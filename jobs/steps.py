"""What steps and jobs share: folders named by their inputs, skipping, fanning out, what became of tasks, stopping."""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from cryofound.config import digest
from cryofound.errors import CryoFoundError, TrainingError
from cryofound.manifest import is_finished, publishing
from cryofound.revision import git_revision
from jobs.progress import bar

GIB = 2**30
Item = TypeVar("Item")
Result = TypeVar("Result")


def step(home: Path, name: str, inputs: Sequence[object], make: Callable[[Path], None]) -> Path:
    """The folder `<home>/<name>-<digest of inputs>`: found finished and skipped, or made by `make(partial folder)`.

    An interrupted `make` is called again with the same partial folder, and may go on from what it finds there.
    """
    identity = digest(name, *inputs)
    folder = Path(home) / f"{name}-{identity}"
    if is_finished(folder):
        print(f"step={name} digest={identity} skipped=finished", flush=True)
        return folder
    print(f"step={name} digest={identity} started", flush=True)
    began = time.monotonic()
    with publishing(folder, step=name, digest=identity, revision=git_revision(Path.cwd())) as partial:
        make(partial)
    print(f"step={name} digest={identity} finished seconds={time.monotonic() - began:.0f}", flush=True)
    return folder


def fan_out(name: str, function: Callable[[Item], Result], items: Sequence[Item], *, gpus: float = 0.0) -> list[Result]:
    """`function(item)` for every item as Ray tasks of one CPU each; the results in order, with a line per finished one.

    Raises what the first failing task raised.
    """
    task = _call.options(num_cpus=1, num_gpus=gpus, max_retries=1)
    pending = {task.remote(function, item): row for row, item in enumerate(items)}
    results: dict[int, Result] = {}
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1)
        try:
            results[pending.pop(ready[0])] = ray.get(ready[0])
        except RayTaskError as error:
            raise error.cause from error
        print(f"{name} {bar(len(results), len(items))}", flush=True)
    return [results[row] for row in range(len(items))]


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a job that gives every item a task of its own."""
    parser.add_argument("--cpus", type=float, default=1, help="of one task (default: %(default)s)")
    parser.add_argument("--memory-gib", type=float, help="of one task, to keep too many off one node")
    parser.add_argument("--max-failures", type=int, default=3, help="deaths a task survives (default: %(default)s)")


def task_options(given: argparse.Namespace) -> dict[str, Any]:
    """What these options ask of Ray."""
    memory = {"memory": int(given.memory_gib * GIB)} if given.memory_gib else {}
    return {"num_cpus": given.cpus, "max_retries": given.max_failures, **memory}


def outcomes(pending: Mapping[ray.ObjectRef, str], retries: int) -> Iterator[tuple[str, Any]]:
    """The name and the result of every task as it ends; a CryoFoundError of one that was refused or whose worker died.

    retries: of the tasks, for the error's words. A fault of the program is raised.
    """
    left = dict(pending)
    while left:
        (each,), _ = ray.wait(list(left), num_returns=1)
        name = left.pop(each)
        try:
            result = ray.get(each)
        except RayError as error:
            refusal = refusal_in(error)
            if refusal is None and isinstance(error, RayTaskError):
                raise
            result = refusal or _death(name, retries, error)
        yield name, result


def _death(name: str, retries: int, error: RayError) -> TrainingError:
    reason = " ".join(str(error).split())[:200]
    return TrainingError(
        f"{name}: its task died {retries + 1} times ({reason}); give it more memory, or submit the job again"
    )


def refusal_in(error: BaseException) -> CryoFoundError | None:
    """The CryoFoundError that a failure comes from, also from inside a Ray task; None for a fault of the program."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        return refusal_in(error.cause)
    if isinstance(error, CryoFoundError):
        return error
    return refusal_in(error.__cause__) if error.__cause__ else None


def stopped(number: int, _frame: object) -> None:
    """Handler of a signal: end as a program that was stopped, so that what is open is closed."""
    raise SystemExit(128 + number)


@ray.remote
def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)
