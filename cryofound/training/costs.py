"""What a run takes beside memory: time, scaled from a rehearsal on this machine, and storage with its price."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from cryofound.training.devices import Cluster
from cryofound.training.footprint import FLOAT
from cryofound.training.rehearsal import Line

# Maps of 64^3 that one thread reads in a second from a local disk: the least of `python -m benchmarks ingest`.
READ_64 = 370
# zstd on float32 maps: masked ones became 0.12, EMD-3488 0.34, those under noise 0.93 of their size (docs/scale.md)
STORED = (0.12, 0.93)
# US dollars for a GB (10^9 bytes) and month: list prices of AWS us-east-1 as told in April 2026, S3 Standard (its first
# tier) and EBS gp3. Other clouds and contracts differ: `--storage-price` sets another.
PRICES = {"object store": 0.023, "disk": 0.08}
COPY_BYTES, MULTIPLIED = 2**26, 1024  # large beside the caches


@dataclass(frozen=True)
class Rates:
    """What one thread of this machine does: bytes it copies and fp32 operations it multiplies in a second."""

    bandwidth: float
    operations: float


def machine_rates() -> Rates:
    """Measured in about a second, the best of three, in time of the processor as rehearsals are."""
    source, matrix = torch.zeros(COPY_BYTES // FLOAT), torch.ones(MULTIPLIED, MULTIPLIED)
    target = torch.empty_like(source)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        copied = min(_seconds(lambda: target.copy_(source)) for _ in range(3))
        multiplied = min(_seconds(lambda: matrix @ matrix) for _ in range(3))
    finally:
        torch.set_num_threads(threads)
    return Rates(2 * COPY_BYTES / copied, 2 * MULTIPLIED**3 / multiplied)


def step_seconds(
    line: Line, samples: int, accumulation: int, cluster: Cluster, rates: Rates, threads: int, bf16: bool
) -> tuple[float, float]:
    """Least and most seconds of a step that takes `samples` at a time, `accumulation` times.

    On the CPU as rehearsed, up to twice that for ranks that share memory bandwidth. On a GPU the part that grows with
    the samples is scaled by the device's peak bandwidth and by its peak operations over those of the threads that were
    rehearsed; what a step takes without samples, Python's and the launches' time, is not scaled.
    """
    if cluster.on_cpu:
        least = accumulation * line.at(samples)
        return least, least * (2.0 if cluster.world > 1 else 1.0)
    device = cluster.device
    ratios = (
        device.bandwidth * 1e9 / (rates.bandwidth * threads),
        (device.bf16 if bf16 else device.fp32) * 1e12 / (rates.operations * threads),
    )
    least, most = (accumulation * (line.fixed + line.each * samples / ratio) for ratio in (max(ratios), min(ratios)))
    return least, most


def reading_seconds(samples: float, box_size: float) -> float:
    """Seconds in which one thread reads the maps of a step from a local disk."""
    return samples / READ_64 * (box_size / 64) ** 3


@dataclass(frozen=True)
class Storage:
    """Bytes on disk, each from the least to the most."""

    store: tuple[float, float]
    shards: float
    checkpoints: float
    exports: float

    @property
    def total(self) -> tuple[float, float]:
        rest = self.shards + self.checkpoints + self.exports
        return self.store[0] + rest, self.store[1] + rest


def storage(states: dict[int, int], maps: dict[int, int], parameters: list[int], kept: int) -> Storage:
    """states, maps: numbers of all states and of those in shards, by box size; `kept` checkpoints of each network."""
    raw, shards = (FLOAT * float(sum(count * size**3 for size, count in each.items())) for each in (states, maps))
    weights = FLOAT * float(np.sum(parameters))
    return Storage((STORED[0] * raw, STORED[1] * raw), shards, 3 * kept * weights, weights)


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
