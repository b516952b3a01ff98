"""A system as every later step sees it: its reference, its states and where they are true."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cryofound.maps.density_map import Grid
from cryofound.structure.atomic_model import AtomicModel


@dataclass(frozen=True)
class State:
    """One map of the series. `split` says whether training may see it."""

    state_id: str
    population: float
    resolution: float
    split: Literal["train", "validation"]


@dataclass(frozen=True)
class System:
    """One complex with its map series, in the canonical frame of its family.

    family_position (residue,) float32: where each residue falls in the sequence of the family's anchor (inserts lie
    between). truth_xyz (state, atom, 3) float32 angstrom: true atoms of each state where they are known, for
    evaluation only; truth_mask (state, atom) bool says where.
    """

    system_id: str
    family: str
    split: Literal["train", "held_out"]
    reference: AtomicModel
    family_position: np.ndarray
    states: tuple[State, ...]
    truth_xyz: np.ndarray
    truth_mask: np.ndarray
    grid: Grid
