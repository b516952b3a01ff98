"""Memory of one rank while it trains, in parts that add up."""

import math
from dataclasses import dataclass

from cryofound.models.layers import GATHERED
from cryofound.physics.windows import CHUNK
from cryofound.training.rehearsal import DeviceScratch, Rehearsal

FLOAT = 4  # bytes; weights are fp32 under bf16 autocast too
# glibc keeps freed blocks under 32 MiB, in pieces that do not fit what comes next: resident memory grows over the first
# steps by this share of the activations (measured 0.4 to 1.0, docs/plan.md). With MALLOC_MMAP_THRESHOLD_=65536 it is 0.
HEAP = 0.6
LIBRARIES = 0.5 * 2**30  # resident in a process that has imported Ray Train, DeepSpeed and both stages
# CUDA context, kernels and workspaces of cuBLAS: about what one process has been seen to take; not measured here.
CUDA_BASE = 1.0 * 2**30
HEADROOM = 0.9  # share of a GPU's memory that may be planned for: the caching allocator loses some to fragments


@dataclass(frozen=True)
class Footprint:
    """Bytes of one rank.

    weights, gradients, adam (moments, and the fp32 copy that ZeRO works on): what training keeps; activations: all
    tensors of forward and backward pass; scratch: what operations hold while they run, or the optimiser's step where
    that is more than activations and scratch; overhead: of the allocator and the driver.
    """

    weights: float
    gradients: float
    adam: float
    activations: float
    scratch: float
    overhead: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.adam + self.activations + self.scratch + self.overhead


def footprint(
    rehearsal: Rehearsal, samples: int, zero_stage: int, world: int, scratch: DeviceScratch | None = None
) -> Footprint:
    """Memory of a rank that takes `samples` at a time; `scratch` for a device other than the CPU.

    ZeRO (arXiv 1910.02054) spreads the optimiser's state over the ranks from stage 1, gradients from 2, weights from 3;
    DeepSpeed with one worker held 5, 8, 8 and 8 times the weights at its peak with stages 0 to 3, in a step without
    activations, of which the last 1 and 3 are its step's own.
    """
    size = FLOAT * rehearsal.parameters
    weights = size / (world if zero_stage == 3 else 1)
    gradients = size / (world if zero_stage >= 2 else 1)
    adam = 3 * size / world if zero_stage else 2 * size
    optimiser = (3 if zero_stage else 1) * size
    activations = rehearsal.step_bytes.at(samples)
    passing = 0.0
    if scratch is not None:
        windows = scratch.voxel_bytes * min(CHUNK["cuda"], samples * scratch.window_voxels)
        activations += samples * scratch.pair_bytes
        passing = max(windows, 2 * FLOAT * GATHERED["cuda"])  # values and their products
    passing = max(passing, optimiser - activations)
    overhead = LIBRARIES + HEAP * activations if scratch is None else CUDA_BASE
    return Footprint(weights, gradients, adam, activations, passing, overhead)


def largest_batch(
    rehearsal: Rehearsal, memory: float, zero_stage: int, world: int, scratch: DeviceScratch | None = None
) -> int:
    """Most samples at a time that fit into `memory` bytes; 0 if not even one does."""
    least, most = 0, 1
    while footprint(rehearsal, most, zero_stage, world, scratch).total <= memory and most < 2**24:
        least, most = most, 2 * most
    while most - least > 1:
        middle = math.ceil((least + most) / 2)
        fits = footprint(rehearsal, middle, zero_stage, world, scratch).total <= memory
        least, most = (middle, most) if fits else (least, middle)
    return least
