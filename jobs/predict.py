"""Predict references with Boltz-2 as Ray tasks; what `ray job submit` runs.

    ray job submit -- python jobs/predict.py --sequences trpv3.fasta --stoichiometry trpv3=4 --out DIR
    ray job submit -- python jobs/predict.py configs/catalog/trpv3.yaml --out DIR

A task asks for a share of a GPU, and for memory, by the number of tokens. All nodes must see DIR and the folder of the
weights (BOLTZ_CACHE).
"""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from cryofound.commands.reference import add_prediction_arguments, prediction_job, show_reference
from cryofound.errors import CryoFoundError, StructureError
from cryofound.reference.runner import PredictionJob, cost, predict

GIB = 2**30
GPU_SHARES = 4  # a GPU is lent in quarters


def resources(job: PredictionJob, gpu_gib: float, memory_gib: float | None = None) -> dict[str, Any]:
    """What a prediction asks Ray for, on GPUs of so much memory; `memory_gib` overrides the estimate of the machine's.

    Raises StructureError if no GPU can hold it.
    """
    need = cost(job.tokens)
    asked: dict[str, Any] = {
        "num_cpus": 1,
        "memory": need.machine if memory_gib is None else int(memory_gib * GIB),
        "num_gpus": 0,
    }
    if job.options.accelerator == "gpu":
        share = need.gpu / (gpu_gib * GIB)
        if share > 1:
            raise StructureError(
                f"{job.name}: {job.tokens} tokens need about {need.gpu / GIB:.0f} GiB of GPU memory, --gpu-gib says "
                f"{gpu_gib:.0f}; use a larger GPU, or predict a part of the complex"
            )
        asked["num_gpus"] = max(1, -int(-share * GPU_SHARES // 1)) / GPU_SHARES
    return asked


def run(job: PredictionJob, folder: Path, asked: dict[str, Any]) -> Path:
    """The folder of the finished prediction, made by a Ray task that is given what it asks; raises what it raised."""
    print(f"predict={job.name} tokens={job.tokens} " + " ".join(f"{key}={asked[key]:g}" for key in asked), flush=True)
    # Once more after a lost worker; an input at fault fails the second time as the first, so it is not tried again.
    return ray.get(_predict.options(**asked, max_retries=1).remote(job, folder))


@ray.remote
def _predict(job: PredictionJob, folder: Path) -> Path:
    return predict(job, folder).folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line on stderr if the input is at fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_prediction_arguments(parser)
    parser.add_argument(
        "--gpu-gib", type=float, default=80.0, help="memory of one GPU of the cluster (default: %(default)s)"
    )
    parser.add_argument("--memory-gib", type=float, help="memory of the machine to ask for (default: by the tokens)")
    given = parser.parse_args(arguments)
    try:
        job = prediction_job(given)
        asked = resources(job, given.gpu_gib, given.memory_gib)
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR)  # the cluster of RAY_ADDRESS, which `ray job submit` sets
            signal.signal(signal.SIGTERM, _stopped)  # after ray.init, which sets its own
        folder = run(job, given.out.resolve(), asked)
    except (CryoFoundError, RayTaskError) as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, CryoFoundError):
            raise
        print(f"error: {cause}", file=sys.stderr, flush=True)
        return 1
    show_reference(folder, None)
    return 0


def _stopped(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
