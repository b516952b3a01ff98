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

import ray
from ray.exceptions import RayTaskError

from cryofound.config import load_recipe
from cryofound.errors import CryoFoundError
from cryofound.home import default_home
from data_pipeline.ingest import ingest
from jobs.progress import counting
from jobs.steps import refusal_in, stopped


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
        recipe = load_recipe(given.recipe)
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR)  # the cluster of RAY_ADDRESS, which `ray job submit` sets
            signal.signal(signal.SIGTERM, stopped)  # after ray.init, which sets its own
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        home = (given.home or default_home()).resolve()
        print(ingest(recipe, home, strict=given.strict, report=counting("ingest")))
    except (CryoFoundError, RayTaskError) as error:
        refusal = refusal_in(error)
        if refusal is None:
            raise
        print(f"error: {refusal}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
