"""Which systems training may see, and which sample goes into which tar file: functions of names and seeds alone."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from cryofound.catalog.entry import CatalogEntry
from cryofound.config import ShardsConfig
from cryofound.maps.density_map import Grid

Subset = Literal["train", "validation", "test"]
SUBSETS: tuple[Subset, ...] = ("train", "validation", "test")
TAR_BLOCK, TAR_END, NPY_HEADER, META_BYTES = 512, 10240, 128, 1024


def subsets(entries: Sequence[CatalogEntry], config: ShardsConfig) -> dict[str, Subset]:
    """The subset of every system by id.

    Held-out systems are test. Of the others each goes by a number that its name (its family's, if families stay whole)
    and the seed give, so that a system stays where it is when others join the catalog.
    """
    held_out = {entry.family for entry in entries if entry.split == "held_out"} if config.whole_families else set()
    found: dict[str, Subset] = {}
    for entry in entries:
        chance = _chance(entry.family if config.whole_families else entry.system_id, config.seed)
        if entry.split == "held_out" or entry.family in held_out or chance < config.test:
            found[entry.system_id] = "test"
        else:
            found[entry.system_id] = "validation" if chance < config.test + config.validation else "train"
    return found


def state_subset(system: Subset, state: Literal["train", "validation"]) -> Subset:
    """The subset of a state: its system's, but in a train system its own."""
    return state if system == "train" else system


def shard_contents(
    samples: Sequence[tuple[str, int]], grids: Mapping[str, Grid], config: ShardsConfig
) -> list[list[tuple[str, int]]]:
    """Samples (system_id, state) of each tar file of a subset, shuffled by the seed over all systems.

    `grids` by system_id; a file takes samples until the next would make it too large.
    """
    order = np.random.default_rng(config.seed).permutation(len(samples))
    ordered = sorted(samples)
    shuffled = [ordered[row] for row in order.tolist()]
    files: list[list[tuple[str, int]]] = []
    left = 0
    for sample in shuffled:
        size = sample_bytes(grids[sample[0]])
        if not files or size > left:
            files.append([])
            left = config.mebibytes * 2**20 - TAR_END
        files[-1].append(sample)
        left -= size
    return files


def sample_bytes(grid: Grid) -> int:
    """Most bytes that one sample takes in a tar file."""
    density = -(-(NPY_HEADER + 4 * int(np.prod(grid.shape_zyx))) // TAR_BLOCK) * TAR_BLOCK
    return density + META_BYTES + 2 * TAR_BLOCK


def _chance(name: str, seed: int) -> float:
    """A number from 0 to 1."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") / 2**64
