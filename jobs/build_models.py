"""Build atomic models for systems of the catalog; what `ray job submit` runs.

    ray job submit --working-dir . -- python jobs/build_models.py --system trpv3 --out DIR

One task builds one system, in DIR/<system>; all nodes must see DIR and the home. A finished system is skipped, one
whose worker died is begun again; one that is refused does not keep the others from being finished: the exit code is 1.
"""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from cryofound import tracking
from cryofound.building.placing import Placing
from cryofound.catalog.entry import CatalogEntry
from cryofound.commands.build import add_system_arguments, build_config
from cryofound.commands.build_systems import build_system, chosen_entries, raise_first, record_build
from cryofound.config import BuildConfig, TrackingConfig
from cryofound.errors import CryoFoundError, RecipeError, TrackingError
from cryofound.home import default_home
from cryofound.outbox import Outbox
from jobs.progress import bar
from jobs.steps import add_task_arguments, outcomes, refusal_in, stopped, task_options

PATIENCE = TrackingConfig().patience  # seconds for an MLflow that is locked or gone
HURRY = 2.0  # the same for a job that was stopped: Ray kills it after three
TOLD = ("cc_mask", "q_score", "rama_outliers", "rota_outliers", "clashscore", "molprobity")


def build_all(
    entries: Sequence[CatalogEntry], out: Path, config: BuildConfig, placing: Placing, home: Path, asked: dict[str, Any]
) -> None:
    """Build every entry as a Ray task that is given what it asks, and tell MLflow of each as it ends.

    Raises the error of the first that was refused, once all others are done; TrackingError where MLflow did not take
    all within the usual patience.
    """
    outbox = Outbox(lambda text: print(f"warning: {text}", flush=True))
    try:
        failed = _results(entries, out, config, placing, home, asked, outbox)
    except BaseException:
        with suppress(TrackingError):
            outbox.close(HURRY)
        raise
    try:
        outbox.close(PATIENCE)
    except TrackingError as error:
        left = f"{error}; all models are kept, submit the job again to log the rest"
        if not failed:
            raise TrackingError(left) from error
        print(f"warning: {left}", flush=True)
    raise_first(failed)


def _results(
    entries: Sequence[CatalogEntry],
    out: Path,
    config: BuildConfig,
    placing: Placing,
    home: Path,
    asked: dict[str, Any],
    outbox: Outbox,
) -> dict[str, CryoFoundError]:
    """The errors of the systems that were refused, by their ids, once every task has ended."""
    pending, failed = {}, {}
    for entry in entries:
        task = _build.options(name=f"build/{entry.system_id}", **asked)
        pending[task.remote(entry, out / entry.system_id, config, placing, home)] = entry.system_id
    for done, (name, result) in enumerate(outcomes(pending, asked["max_retries"]), start=1):
        if isinstance(result, CryoFoundError):
            failed[name] = result
            print(f"build {name} refused: {result}", flush=True)
            outbox.put(partial(_record_failure, home, name, str(result)))
        else:
            _show(out / name, name, built=result)
            outbox.put(partial(_record, out / name, home, name))
        print(f"build systems {bar(done, len(entries))}", flush=True)
    return failed


def _record(folder: Path, home: Path, name: str) -> None:
    record_build(folder, home, name)


def _record_failure(home: Path, name: str, error: str) -> None:
    tracking.record_failure(home, TrackingConfig().experiment, f"build-{name}", error)


def _show(folder: Path, name: str, *, built: bool) -> None:
    """A line of the most telling scores for each state, or one that says that all was there."""
    if not built:
        print(f"build {name} out={folder} skipped=finished", flush=True)
        return
    scores = json.loads((folder / "scores.json").read_text())
    for state in dict.fromkeys(key.rpartition("/")[0] for key in scores):
        told = (f"{what}={scores[key]:.3g}" for what in TOLD if (key := f"{state}/{what}") in scores)
        print(f"build {name} state={state} {' '.join(told)}", flush=True)
    print(f"build {name} out={folder}", flush=True)


@ray.remote(max_calls=1)  # torch's threads and memory end with the build
def _build(entry: CatalogEntry, out: Path, config: BuildConfig, placing: Placing, home: Path) -> bool:
    """Whether there was something to build."""
    report = partial(print, f"{entry.system_id}:", flush=True)
    return build_system(entry, out, config, placing, home, report) is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line on stderr if the input is at fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_system_arguments(parser)
    add_task_arguments(parser)
    given = parser.parse_args(arguments)
    asked = task_options(given)
    try:
        if not (given.systems or given.entries):
            raise RecipeError("which systems? give --system ID ..., or --entries with files or folders of the catalog")
        entries, config = chosen_entries(given.entries, given.systems), build_config(given.recipe)
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR)  # the cluster of RAY_ADDRESS, which `ray job submit` sets
            signal.signal(signal.SIGTERM, stopped)  # after ray.init, which sets its own
        home = (given.home or default_home()).resolve()
        build_all(entries, given.out.resolve(), config, given.register, home, asked)
    except (CryoFoundError, RayTaskError) as error:
        refusal = refusal_in(error)
        if refusal is None:
            raise
        print(f"error: {refusal}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
