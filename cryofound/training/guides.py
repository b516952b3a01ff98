"""Models placed into the training maps by rigid bodies (building/guides.py): what stage 1 is pulled towards at first.

The gradient of a correlation reaches as far as the map is blurred: a domain that goes 50 A is found by docking, not by
descent, and a network that has to find it on its own comes to rest half way.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cryofound.ensemble.system import System
from cryofound.errors import StoreError
from cryofound.manifest import read_manifest

SOFT = 1.0  # angstrom within which the pull is a spring's; beyond it is the same however far the way


class Guides:
    """Placed positions of every training map of some systems; of a system that has none, its reference's."""

    def __init__(self, placed: Sequence[dict[int, Tensor]]):
        self.placed = placed

    @classmethod
    def open(cls, folder: Path, systems: Sequence[System]) -> "Guides":
        """Read `<system>.npz` of the systems that have one; raises StoreError where it is not of the system's maps."""
        read_manifest(folder)
        placed: list[dict[int, Tensor]] = []
        for system in systems:
            path = guide_file(folder, system.system_id)
            wanted = [row for row, state in enumerate(system.states) if state.split == "train"]
            if not path.is_file():
                placed.append(dict.fromkeys(wanted, torch.from_numpy(system.reference.positions_xyz)))
                continue
            with np.load(path, allow_pickle=False) as arrays:
                rows, positions = arrays["state"].tolist(), torch.from_numpy(arrays["positions_xyz"])
            if rows != wanted or positions.shape[1] != system.reference.n_atoms:
                raise StoreError(f"{path}: placed maps {rows}, the store has {wanted}; delete {folder} and run again")
            placed.append(dict(zip(rows, positions, strict=True)))
        return cls(placed)

    def positions(self, systems: Sequence[int], states: Sequence[int]) -> Tensor:
        """(map, atom, 3) angstrom of some maps, by rows of the systems and of their states; zero in padding."""
        found = [self.placed[system][state] for system, state in zip(systems, states, strict=True)]
        return torch.nn.utils.rnn.pad_sequence(found, batch_first=True)


def guide_file(folder: Path, system_id: str) -> Path:
    """Where positions_xyz (map, atom, 3) float32 angstrom, and state (map,) int64 of a system lie."""
    return Path(folder) / f"{system_id}.npz"


def guide_loss(positions: Tensor, guide_xyz: Tensor, atom_mask: Tensor) -> Tensor:
    """How far models are from where they were placed, angstrom, (batch,): the mean over atoms of sqrt(d^2 + SOFT^2) -
    SOFT (pseudo-Huber; Charbonnier et al. 1994, doi:10.1109/ICIP.1994.413553), which a loop placed wrongly can bear.

    positions, guide_xyz (batch, atom, 3); atom_mask (batch, atom) bool.
    """
    squared = ((positions - guide_xyz) / SOFT).square().sum(-1)
    away = SOFT * ((squared + 1).sqrt() - 1) * atom_mask
    return away.sum(1) / atom_mask.sum(1)
