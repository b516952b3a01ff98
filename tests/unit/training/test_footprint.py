"""Predicted memory is what training takes, and its parts are what ZeRO's paper says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryofound.training.footprint import footprint, largest_batch
from cryofound.training.rehearsal import DeviceScratch, Line, Rehearsal

CASES = [
    # stage, residues, box_size, batch_size, zero_stage, width of the networks
    ["stage1", 150, 64, 8, 0, 128],
    ["stage1", 640, 96, 2, 0, 128],
    ["stage2", 150, 64, 8, 0, 128],
    ["stage1", 100, 48, 2, 0, 512],  # weights and optimiser outweigh the activations
]
REHEARSAL = Rehearsal(1000, Line(10_000.0, 50_000.0), Line(0.0, 1.0), 0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident memory is read from Linux's /proc")
def test_prediction_is_within_15_percent_of_the_measured_peak() -> None:
    """Real steps of the one loop under DeepSpeed, with an allocator that gives freed blocks back at once."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("peak_process.py")), json.dumps(CASES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    for case, (measured, predicted, _) in zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert predicted == pytest.approx(measured, rel=0.15), case


@pytest.mark.parametrize(
    ("zero_stage", "weights", "gradients", "adam"),
    [(0, 4000, 4000, 8000), (1, 4000, 4000, 12000 / 4), (2, 4000, 1000, 12000 / 4), (3, 1000, 1000, 12000 / 4)],
)
def test_zero_spreads_state_over_the_ranks(zero_stage: int, weights: float, gradients: float, adam: float) -> None:
    parts = footprint(REHEARSAL, 2, zero_stage, world=4)
    assert (parts.weights, parts.gradients, parts.adam) == (weights, gradients, adam)
    assert parts.activations == 110_000


def test_the_optimisers_step_counts_where_it_takes_more_than_the_passes() -> None:
    still = Rehearsal(1_000_000, Line(0.0, 0.0), Line(0.0, 0.0), 0)
    # measured with DeepSpeed and one worker: 5 times the weights at the peak
    parts = footprint(still, 1, 0, 1)
    assert parts.total - parts.overhead == 5 * 4_000_000


@pytest.mark.parametrize("scratch", [None, DeviceScratch(1000, 17.0, 500)])
def test_largest_batch_is_the_last_that_fits(scratch: DeviceScratch | None) -> None:
    memory = 4 * 2**30
    most = largest_batch(REHEARSAL, memory, 0, 1, scratch)
    assert footprint(REHEARSAL, most, 0, 1, scratch).total <= memory
    assert footprint(REHEARSAL, most + 1, 0, 1, scratch).total > memory
    assert largest_batch(REHEARSAL, 1000.0, 0, 1, scratch) == 0
