"""A system as every later step sees it: its reference, its states and where they are true."""

from dataclasses import dataclass, fields
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
class Outline:
    """One complex with the names of its states, in the canonical frame of its family: a system without its maps.

    family_position (residue,) float32: where each residue falls in the sequence of the family's anchor (inserts lie
    between). symmetry: the point group that ties the motion of its copies, C1 where each moves on its own.
    """

    system_id: str
    family: str
    split: Literal["train", "held_out"]
    reference: AtomicModel
    family_position: np.ndarray
    states: tuple[State, ...]
    grid: Grid
    symmetry: str = "C1"


@dataclass(frozen=True)
class System:
    """One complex with its map series, in the canonical frame of its family.

    The fields of `Outline`, and truth_xyz (state, atom, 3) float32 angstrom: true atoms of each state where they are
    known, for evaluation only; truth_mask (state, atom) bool says where. Elsewhere the truth is the reference's.
    Of a predicted reference also confidence (residue,) float32, pLDDT from 0 to 1, and the embedding (residue, width)
    float32 where its predictor wrote one.
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
    confidence: np.ndarray | None = None
    embedding: np.ndarray | None = None
    symmetry: str = "C1"

    @property
    def outline(self) -> Outline:
        return Outline(**{field.name: getattr(self, field.name) for field in fields(Outline)})


def has_unseen(system: System) -> bool:
    """Whether training did not see the system, or one of its states."""
    return system.split != "train" or any(state.split != "train" for state in system.states)


@dataclass(frozen=True)
class StateArrays:
    """What a store keeps of one state.

    density (z, y, x) float32; truth_xyz (atom, 3) float32 and truth_mask (atom,) bool as in `System`; mask (z, y, x)
    float32 from 0 to 1, or None.
    """

    density: np.ndarray
    truth_xyz: np.ndarray
    truth_mask: np.ndarray
    mask: np.ndarray | None = None
