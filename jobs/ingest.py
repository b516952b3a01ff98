"""Ingest the catalog entries of a recipe into the system store; what `ray job submit` runs.

    ray job submit --working-dir . -- python jobs/ingest.py --recipe configs/pretrain/demo.yaml

A system that is refused is told in one line and does not keep the others from being finished: the exit code is 1, and
the next run does what is missing. With --strict the first one ends the run.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cryofound.config import load_recipe
from cryofound.errors import CryoFoundError
from cryofound.home import default_home
from data_pipeline.plan import Plan, found, make_plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line on stderr if the input is at fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--recipe", required=True, type=Path, help="YAML recipe, for example configs/pretrain/demo.yaml"
    )
    parser.add_argument("--home", type=Path, help="where everything is kept (default: $CRYOFOUND_HOME)")
    parser.add_argument("--strict", action="store_true", help="stop at the first system that is refused")
    given = parser.parse_args(arguments)
    try:
        plan = make_plan(load_recipe(given.recipe), (given.home or default_home()).resolve())
        print(found(plan) or run(plan, strict=given.strict))
    except CryoFoundError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def run(plan: Plan, *, strict: bool) -> Path:
    """Make the store of a plan on the cluster of RAY_ADDRESS, which `ray job submit` sets, or on this machine."""
    # Ray and torch take longer to import than finding that there is nothing to do.
    import ray

    from data_pipeline.ingest import ingest
    from data_pipeline.streaming import ray_stream
    from jobs.progress import counting
    from jobs.steps import stopped

    if not ray.is_initialized():
        ray.init(logging_level=logging.ERROR)
        signal.signal(signal.SIGTERM, stopped)  # after ray.init, which sets its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ingest(plan, ray_stream, strict=strict, report=counting("ingest"))


if __name__ == "__main__":
    raise SystemExit(main())
