"""`python -m benchmarks NAME [--out DIR]`: run one benchmark, print its table, write DIR/NAME.json, log to MLflow.

The run goes to CRYOFOUND_TRACKING_URI, else to a sqlite file in DIR. Exit code 0 says that the measurement was made;
whether the wanted numbers were reached is in the table.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import calmodulin, families, flexible_fitting, ingest, physics, real_maps, registration, sampling, trust
from benchmarks.outcome import Benchmark, outcome_table, write_outcome
from cryofound import tracking
from cryofound.config import digest
from cryofound.errors import CryoFoundError, TrackingError
from cryofound.revision import git_revision

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = {
    name: Benchmark(partial(calmodulin.measure, name), calmodulin.LIMITS[name], calmodulin.FLOORS)
    for name in calmodulin.RECIPES
} | {
    each.__name__.rpartition(".")[2].replace("_", "-"): Benchmark(each.measure, each.LIMITS, each.FLOORS)
    for each in (families, flexible_fitting, ingest, physics, real_maps, registration, sampling, trust)
}

FAMILIES_ALONE = ("folds", "seeds")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that the command line names; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run one benchmark.")
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "benchmarks", help="where NAME.json is written")
    for option in FAMILIES_ALONE:
        parser.add_argument(f"--{option}", type=_numbers, help=f"{option} of families to run, as 0,2 (default: all)")
    parser.add_argument("--cases", help="cases of real-maps (default: all) or flexible-fitting (kinesin,adk)")
    parser.add_argument("--side", choices=flexible_fitting.CHOICES, help="of flexible-fitting (default: both)")
    given = parser.parse_args(arguments)
    chosen: dict[str, object] = {option: getattr(given, option) for option in FAMILIES_ALONE if getattr(given, option)}
    if chosen and given.name != "families":
        parser.error(f"--{' and --'.join(chosen)}: of benchmark families alone")
    if given.cases and given.name not in ("real-maps", "flexible-fitting"):
        parser.error("--cases: of benchmarks real-maps and flexible-fitting alone")
    if given.side and given.name != "flexible-fitting":
        parser.error("--side: of benchmark flexible-fitting alone")
    if given.cases:
        chosen["cases"] = tuple(given.cases.split(","))
    if given.side:
        chosen["side"] = given.side
    benchmark, out = BENCHMARKS[given.name], given.out.resolve()
    try:
        metrics = benchmark.measure(out / given.name, **chosen)
    except CryoFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 100).print(outcome_table(given.name, benchmark, metrics))
    path = out / f"{given.name}.json"
    write_outcome(path, metrics)
    revision = git_revision(ROOT)
    identity = digest(given.name, revision, metrics)
    print(f"wrote {path}")
    try:
        run = tracking.open_run(out, "benchmarks", given.name, identity, {"revision": revision})
        run.log_metrics(given.name, [(0, metrics)])
        run.log_artifact(path)
        run.end("FINISHED")
    except TrackingError as error:
        print(f"warning: not in MLflow: {error}", file=sys.stderr)
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
