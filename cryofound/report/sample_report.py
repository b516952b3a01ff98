"""What the report of a sampled ensemble shows: its samples, how they move, and how far they are to be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cryofound.evaluation.principal_motions import PrincipalMotions
from cryofound.evaluation.scored_model import ScoredModel

SHOWN = 64  # samples in the viewer at most
FRAMES = 45  # of the path, about, where samples are few


@dataclass(frozen=True)
class Trust:
    """How far an ensemble is to be trusted: a grade in a word, plain sentences, and whether it was sampled by force.

    good: whether the sentences are shown as an all-clear, or as a warning.
    """

    grade: str
    sentences: tuple[str, ...]
    good: bool
    forced: bool


@dataclass(frozen=True)
class SampleReport:
    """An ensemble as its report shows it.

    model: the reference in its own frame, protein alone, whose atoms the positions are of, in its order. names: of all
    samples as they were drawn, and figures by name (sample,) of each, NaN where unknown; limits: the highest value of
    some that is well. shown (shown,) rows of the
    samples that the viewer has, along the first principal motion, and positions_xyz (shown, atom, 3) theirs; profiles
    by name (residue,), NaN where nothing is known, of which `uncertainty` and `rmsf` (angstrom) are always there; other
    names are words for a legend. facts: what the manifest says.
    """

    title: str
    model: ScoredModel
    names: tuple[str, ...]
    figures: Mapping[str, np.ndarray]
    limits: Mapping[str, float]
    shown: np.ndarray
    positions_xyz: np.ndarray
    profiles: Mapping[str, np.ndarray]
    motions: PrincipalMotions
    trust: Trust
    notes: tuple[str, ...]
    facts: Mapping[str, Any]


def shown_rows(place: np.ndarray, most: int = SHOWN) -> np.ndarray:
    """(shown,) int64: the samples in their order along a motion (sample,), or as many as `most`, evenly spaced."""
    order = np.argsort(place, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]


def turn_to_see(motion_xyz: np.ndarray) -> list[float]:
    """The quaternion x, y, z, w of the least turn after which a motion (atom, 3) is seen best by one who looks along z.

    That is along the direction in which atoms move least.
    """
    _, axes = np.linalg.eigh(motion_xyz.T @ motion_xyz)
    least = axes[:, 0] * (1.0 if axes[2, 0] >= 0 else -1.0)
    turn = np.array([least[1], -least[0], 0.0, 1.0 + least[2]])  # about the axis normal to both directions
    return [round(float(each), 5) for each in turn / np.linalg.norm(turn)]


def path_through(states_xyz: Sequence[np.ndarray], frames: int = FRAMES) -> np.ndarray | None:
    """(frame, atom, 3): straight lines from each state (atom, 3) to the next; None for a single one.

    Between two states are as many frames as make about `frames` in all, and at least one.
    """
    if len(states_xyz) < 2:
        return None
    between = max(frames // (len(states_xyz) - 1) - 1, 1)
    path = [states_xyz[0]]
    for row in range(1, len(states_xyz)):
        parts = np.linspace(0, 1, between + 2)[1:]
        path += [(1 - part) * states_xyz[row - 1] + part * states_xyz[row] for part in parts]
    return np.stack(path)
