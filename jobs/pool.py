"""A stage for every group of a scope: a pool of Ray tasks, each a fit in its own process that resumes by itself."""

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cryofound.config import EngineConfig, Recipe
from cryofound.errors import CryoFoundError, TrainingError
from cryofound.manifest import PARTIAL, is_finished, publishing
from cryofound.training.curve import read_curve
from cryofound.training.loop import Stage
from cryofound.training.scope import Group
from jobs.progress import bar, curve_line
from jobs.steps import refusal_in
from jobs.training import CHECKPOINTS, export_config, train_here

_POLL_SECONDS = 0.5
_PRINT_SECONDS = 5.0


def fit(
    recipe: Recipe,
    name: str,
    groups: Sequence[Group],
    make_stage: Callable[[Group], Stage],
    folder: Path,
    on_rows: Callable[[Group, list[dict[str, float]]], None],
) -> None:
    """Train the stage `name` of a recipe for every group, in `folder/<group>`, a folder that all nodes share.

    A task is given one worker's share of `recipe.engine`. If it dies it is started again, up to `max_failures` times,
    and goes on from its last checkpoint; so does one of a later call, which skips the groups that are finished.
    `on_rows` is handed the new rows of every curve as it grows. A group that is refused does not keep the others from
    being finished: the error of the first is raised at the end.
    """
    engine, folder = recipe.engine, Path(folder).resolve()
    asked = {
        "num_cpus": engine.cpus_per_worker,
        "num_gpus": engine.gpus_per_worker,
        "max_retries": engine.max_failures,
    }
    pending = {}
    for group in groups:
        place = group.folder(folder)
        if not is_finished(place):
            config = export_config(recipe, group)
            task = _fit.options(name=f"{name}/{group.name}", **asked)
            pending[task.remote(partial(make_stage, group), place, engine, recipe.seed, config)] = group
    print(f"{name} groups={len(groups)} finished={len(groups) - len(pending)}", flush=True)
    follower = _Follower(folder, name, getattr(recipe, name).steps, on_rows)
    failed: dict[str, CryoFoundError] = {}
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=_POLL_SECONDS)
        follower.look(list(pending.values()))
        for each in ready:
            group = pending.pop(each)
            try:
                ray.get(each)
            except RayError as error:
                refusal = refusal_in(error)
                if refusal is None and isinstance(error, RayTaskError):
                    raise  # a fault of the program
                failed[group.name] = refusal or _death(name, group, engine, error)
                print(f"{name} {group.name} refused: {failed[group.name]}", flush=True)
            print(f"{name} groups {bar(len(groups) - len(pending), len(groups))}", flush=True)
    if failed:
        first, *others = sorted(failed)
        raise type(failed[first])(f"{failed[first]}" + (f" (also refused: {', '.join(others)})" if others else ""))


class _Follower:
    """Hands on what is new in the curves of the groups, and prints a line of it now and then."""

    def __init__(
        self, folder: Path, name: str, steps: int, on_rows: Callable[[Group, list[dict[str, float]]], None]
    ) -> None:
        self.folder, self.name, self.steps, self.on_rows = folder, name, steps, on_rows
        self.seen: dict[str, float] = {}
        self.printed = 0.0

    def look(self, groups: Sequence[Group]) -> None:
        """Read the curves of these groups."""
        for group in groups:
            final = group.folder(self.folder)
            curve = read_curve(final if is_finished(final) else final.with_name(final.name + PARTIAL))
            # a task that was started again logs some steps again, with the same values
            rows = [row for row in curve if row["step"] > self.seen.get(group.name, -1)]
            if rows:
                self.seen[group.name] = rows[-1]["step"]
                self.on_rows(group, rows)
            if rows and time.monotonic() - self.printed > _PRINT_SECONDS:
                self.printed = time.monotonic()
                print(curve_line(f"{self.name} {group.name}", rows[-1], self.steps), flush=True)


def _death(name: str, group: Group, engine: EngineConfig, error: RayError) -> TrainingError:
    reason = " ".join(str(error).split())[:200]
    return TrainingError(
        f"{name} of {group.name}: its task died {engine.max_failures + 1} times ({reason}); "
        "run again to go on from its last checkpoint"
    )


@ray.remote(max_calls=1)  # torch's process group, threads and memory end with the fit
def _fit(
    make_stage: Callable[[], Stage], folder: Path, engine: EngineConfig, seed: int, config: dict[str, Any]
) -> None:
    if is_finished(folder):  # by a task that died after it, or lived on after its driver
        return
    with publishing(folder) as aside:
        train_here(make_stage, aside, engine, seed, config)
        shutil.rmtree(aside / CHECKPOINTS)
