"""Distances of a sampled ensemble from the true states of a system."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import comb
from typing import Literal

import numpy as np

from cryofound.ensemble.system import System
from cryofound.errors import StructureError
from cryofound.evaluation.superposition import superposed_rmsd

# Three atoms fix a superposition; a state with fewer known atoms has no RMSD.
FEWEST_ATOMS = 3
AT_HOME = 0.1  # angstrom; a conformer as near as that to the reference is the reference

ScoreSplit = Literal["train", "validation", "held_out"]


@dataclass(frozen=True)
class StateScore:
    """How well an ensemble reaches one state of one system; all RMSD in angstrom over the state's known heavy atoms.

    split: "held_out" if training never saw the system, else the split of the state. recall_rmsd: the closest sample,
    after optimal superposition; static_rmsd: the reference; normal_modes_rmsd: the closest of as many normal-mode
    samples, in expectation over their pool. nearest_count: samples that have this state as their nearest (among all
    states of the system with known atoms).
    """

    system_id: str
    family: str
    state_id: str
    split: ScoreSplit
    n_atoms: int
    n_samples: int
    recall_rmsd: float
    static_rmsd: float
    normal_modes_rmsd: float
    nearest_count: int


@dataclass(frozen=True)
class Conformer:
    """The states of a system whose true atoms are the same: one conformation, seen in maps of several resolutions.

    rows: of `system.states`; name: what their ids begin with; population: their mean; split: "train" if training saw
    any of them, "held_out" if it never saw the system; static_rmsd: of the reference, angstrom, over known heavy atoms.
    """

    name: str
    rows: tuple[int, ...]
    population: float
    split: ScoreSplit
    static_rmsd: float

    @property
    def at_home(self) -> bool:
        """Whether it is the reference itself."""
        return self.static_rmsd <= AT_HOME


def evaluate_system(system: System, samples_xyz: np.ndarray, normal_modes_xyz: np.ndarray) -> list[StateScore]:
    """One score per state of `system` whose true atoms are known (at least three), in the order of `system.states`.

    samples_xyz (sample, atom, 3) and the pool normal_modes_xyz (pool, atom, 3), angstrom: the atoms of the reference.
    Raises StructureError if the atoms do not fit the reference or a position is not finite.
    """
    check_ensemble(system, samples_xyz, "samples")
    check_ensemble(system, normal_modes_xyz, "normal-mode samples")
    known = known_states(system)
    distances = state_distances(system, samples_xyz)
    nearest = np.bincount(distances.argmin(1), minlength=len(known)) if known else np.zeros(0, dtype=int)
    static = state_distances(system, system.reference.positions_xyz[None])[0]
    normal_modes = expected_closest(state_distances(system, normal_modes_xyz), len(samples_xyz))
    return [
        StateScore(
            system_id=system.system_id,
            family=system.family,
            state_id=system.states[row].state_id,
            split=score_split(system, row),
            n_atoms=int(system.truth_mask[row].sum()),
            n_samples=len(samples_xyz),
            recall_rmsd=float(distances[:, column].min()),
            static_rmsd=float(static[column]),
            normal_modes_rmsd=float(normal_modes[column]),
            nearest_count=int(nearest[column]),
        )
        for column, row in enumerate(known)
    ]


def known_states(system: System) -> list[int]:
    """Rows of `system.states` whose truth has enough atoms for a superposition."""
    return [row for row in range(len(system.states)) if system.truth_mask[row].sum() >= FEWEST_ATOMS]


def conformers(system: System) -> tuple[Conformer, ...]:
    """The conformations of a system whose truth is known, in the order of their first states."""
    groups: list[list[int]] = []
    for row in known_states(system):
        for group in groups:
            if np.array_equal(system.truth_mask[row], system.truth_mask[group[0]]) and np.array_equal(
                system.truth_xyz[row], system.truth_xyz[group[0]]
            ):
                group.append(row)
                break
        else:
            groups.append([row])
    return tuple(_conformer(system, group) for group in groups)


def _conformer(system: System, rows: list[int]) -> Conformer:
    states = [system.states[row] for row in rows]
    splits: list[ScoreSplit] = [score_split(system, row) for row in rows]
    words = zip(*(state.state_id.split("_") for state in states), strict=False)
    shared = "_".join(word for word, *_ in takewhile(lambda each: len(set(each)) == 1, words))
    return Conformer(
        name=shared or states[0].state_id,
        rows=tuple(rows),
        population=float(np.mean([state.population for state in states])),
        split=min(splits, key=("train", "validation", "held_out").index),
        static_rmsd=float(state_distances(system, system.reference.positions_xyz[None], rows[:1])[0, 0]),
    )


def state_distances(system: System, samples_xyz: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
    """(sample, state) float64: RMSD of every sample to the states in `rows`, over each state's own known atoms.

    Without rows to all known states.
    """
    columns = []
    for row in known_states(system) if rows is None else rows:
        atoms = system.truth_mask[row]
        columns.append(superposed_rmsd(samples_xyz[:, atoms], system.truth_xyz[row, atoms][None])[:, 0])
    return np.stack(columns, axis=1) if columns else np.zeros((len(samples_xyz), 0))


def expected_closest(distances: np.ndarray, n: int) -> np.ndarray:
    """(state,) float64: mean, over all choices of n rows, of the smallest of (pool, state) distances.

    A pool of n rows or fewer has its smallest.
    """
    return closest_chances(len(distances), n) @ np.sort(distances, axis=0)


def closest_chances(pool: int, n: int) -> np.ndarray:
    """(pool,) float64: the chance of the k-th closest of a pool to be the closest of n that are chosen from it.

    C(N - k, n - 1) / C(N, n), k from 1; a pool of n or fewer is chosen whole.
    """
    n = min(n, pool)
    return np.array([comb(pool - rank, n - 1) / comb(pool, n) for rank in range(1, pool + 1)])


def diversity(samples_xyz: np.ndarray) -> float:
    """Mean RMSD (angstrom) over all pairs of samples (sample, atom, 3), each pair superposed; 0 for a single sample."""
    if len(samples_xyz) < 2:
        return 0.0
    upper = np.triu_indices(len(samples_xyz), k=1)
    return float(superposed_rmsd(samples_xyz, samples_xyz)[upper].mean())


def score_split(system: System, row: int) -> ScoreSplit:
    """ "held_out" for every state of a system kept out of training, else the split of the state in `row`."""
    return "held_out" if system.split == "held_out" else system.states[row].split


def check_ensemble(system: System, samples_xyz: np.ndarray, what: str) -> None:
    """Raise StructureError unless `samples_xyz` is (sample >= 1, atoms of the reference, 3) and finite."""
    expected = system.reference.positions_xyz.shape
    if samples_xyz.ndim != 3 or samples_xyz.shape[1:] != expected or not len(samples_xyz):
        raise StructureError(
            f"{system.system_id}: {what} have shape {samples_xyz.shape}, expected (samples, {expected[0]}, 3); "
            "sample again from the same store"
        )
    broken = np.flatnonzero(~np.isfinite(samples_xyz).all((1, 2)))
    if len(broken):
        raise StructureError(
            f"{system.system_id}: {len(broken)} of {len(samples_xyz)} {what} hold positions that are not finite "
            f"(first: {broken[0]}); lower the learning rate or the guidance and sample again"
        )
