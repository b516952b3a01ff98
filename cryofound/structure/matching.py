"""Which chains and residues of two models correspond: by sequence, and among copies of a chain by where they lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from cryofound.errors import StructureError
from cryofound.structure.alignment import (
    MIN_CORE,
    align_sequences,
    best_rotation,
    scored_alignment,
    sequence_of,
)
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, chains_of

COPY_IDENTITY = 0.9
SURE_RUN = 4  # residues alike in a row: by chance beside one gap in some 10 000
CA_STEP = 4.5  # angstrom; CA of residues that are bonded are no farther apart
# In BLOSUM62's units: unrelated chains of 140 to 1000 residues reach 42, distant receptors (21 % identical) 74.
RELATED_SCORE = 50
MAX_SEEDS = 256
ITERATIONS = 5
TIE = 0.01  # angstrom RMSD; assignments of a symmetric complex that differ by less are equally good
SCORE_WEIGHT = 1e9  # square angstrom; sequences decide before distances do

_Assignment = tuple[tuple[int, int], ...]  # rows of the first's and the second's chains
_Table = Mapping[tuple[str, str], tuple[np.ndarray, int]]  # aligned residues and score, by chain names


@dataclass(frozen=True)
class ChainMatch:
    """Two chains that correspond, by name, and their residues (pair, 2), rows of the two whole models."""

    first: str
    second: str
    pairs: np.ndarray


def matched_residues(first: AtomicModel, second: AtomicModel) -> np.ndarray:
    """(pair, 2) residue rows of two models that correspond, in order of the first.

    Where two chains are the same protein (at least COPY_IDENTITY), a residue corresponds to itself and to no other. Of
    each run of pairs without a gap (in the alignment or, by CA_STEP, in a chain), what lies before its first and after
    its last SURE_RUN identical pairs in a row is left out, and so is a run that has none: such ends are tags, linkers
    and inserts, which an alignment pairs with whatever stands across the gap, tens of angstrom away. Relatives keep all
    aligned pairs.

    Raises StructureError if there are fewer than MIN_CORE.
    """
    if len(chain_rows(first)) == len(chain_rows(second)) == 1:
        found = [align_sequences(sequence_of(first), sequence_of(second))]
    else:
        found = [match.pairs for match in match_chains(first, second)]
    kept = [_trusted(first, second, pairs) for pairs in found]
    pairs = np.concatenate([np.zeros((0, 2), dtype=np.int64), *kept])
    if len(pairs) < MIN_CORE:
        raise StructureError(
            f"sequences of {first.n_residues} and {second.n_residues} residues share {len(pairs)} aligned residues, "
            f"{MIN_CORE} are needed; are these the same family?"
        )
    return pairs


def _trusted(first: AtomicModel, second: AtomicModel, pairs: np.ndarray) -> np.ndarray:
    """The aligned pairs of two chains that `matched_residues` keeps."""
    alike = first.residue_type[pairs[:, 0]] == second.residue_type[pairs[:, 1]]
    if len(pairs) == 0 or alike.mean() < COPY_IDENTITY:
        return pairs
    kept = np.zeros(len(pairs), dtype=bool)
    steps = (np.diff(model.ca_xyz()[rows], axis=0) for model, rows in zip((first, second), pairs.T, strict=True))
    broken = np.any([np.linalg.norm(step, axis=1) > CA_STEP for step in steps], axis=0)
    gaps = np.flatnonzero((np.diff(pairs, axis=0) != 1).any(1) | broken) + 1
    for run in np.split(np.arange(len(pairs)), gaps):
        sure = [start for start in range(len(run) - SURE_RUN + 1) if alike[run[start : start + SURE_RUN]].all()]
        if sure:
            kept[run[sure[0] : sure[-1] + SURE_RUN]] = True
    return pairs[kept]


def match_chains(first: AtomicModel, second: AtomicModel) -> tuple[ChainMatch, ...]:
    """The one-to-one correspondence of the chains of two models, in order of the first; chains may be left over.

    Related chains are brought together so that the sum of their alignment scores is largest, copies counted as equal.
    Among the assignments that are left, as the four of a C4 tetramer, the one wins in which the complexes, superposed
    by the CA of all aligned residues, have the lowest RMSD: every pair of related chains is superposed in turn, the
    other chains assigned where they then lie, and the whole superposed again. Of assignments within TIE the one that
    keeps most chain names is taken, so that the order of chains has no say.
    """
    ones, others = chains_of(first), chains_of(second)
    table = _align_all(ones, others)
    likeness = _likeness(ones, others, table)
    if not likeness.any():
        return ()
    moments = _Moments.of(ones, others, table)
    names, other_names = list(ones), list(others)
    assignments = {_assignment(likeness, moments, seed) for seed in _seeds(likeness)}
    rmsd = {each: moments.superposed(each)[1] for each in assignments}
    lowest = min(rmsd.values())

    def preference(assignment: _Assignment) -> tuple:
        named = sorted((names[row], other_names[column]) for row, column in assignment)
        return -sum(one == other for one, other in named), named

    best = min((each for each in assignments if rmsd[each] <= lowest + TIE), key=preference)
    rows, other_rows = list(chain_rows(first).values()), list(chain_rows(second).values())
    matches = []
    for row, column in best:
        pairs = table[names[row], other_names[column]][0]
        pairs = np.stack([rows[row][pairs[:, 0]], other_rows[column][pairs[:, 1]]], axis=1)
        matches.append(ChainMatch(names[row], other_names[column], pairs))
    return tuple(matches)


def related(first: str, second: str) -> bool:
    """Whether two one-letter sequences are of one family, by the score of their alignment."""
    return _related(first, second, scored_alignment(first, second)[1])


def copies(sequences: Sequence[str]) -> list[int]:
    """For each chain, by its one-letter sequence, the number of the first of which it is a copy.

    Copies may each lack residues that the experiment did not see.
    """
    kinds: list[int] = []
    for number, sequence in enumerate(sequences):
        known = dict.fromkeys(kinds)
        kinds.append(next((kind for kind in known if _copies(sequences[kind], sequence)), number))
    return kinds


def rows_in_copies(model: AtomicModel) -> np.ndarray:
    """(residue,) int64: each residue's own row, or the one that stands for it in the first copy of its chain."""
    chains = chains_of(model)
    rows = list(chain_rows(model).values())
    sequences = [sequence_of(chain) for chain in chains.values()]
    found = np.arange(model.n_residues)
    for number, kind in enumerate(copies(sequences)):
        if kind != number:
            pairs = align_sequences(sequences[kind], sequences[number])
            found[rows[number][pairs[:, 1]]] = rows[kind][pairs[:, 0]]
    return found


@dataclass(frozen=True)
class _Moments:
    """Of the aligned CA of each pair of chains (first, second): all that superpositions and distances need.

    count (n, m); mean of the first's and of the second's (n, m, 3); mean squared norms of both together (n, m); mean
    outer product (n, m, 3 of the second, 3 of the first).
    """

    count: np.ndarray
    one: np.ndarray
    other: np.ndarray
    square: np.ndarray
    cross: np.ndarray

    @classmethod
    def of(cls, ones: Mapping[str, AtomicModel], others: Mapping[str, AtomicModel], table: _Table) -> "_Moments":
        fixed = [chain.ca_xyz().astype(np.float64) for chain in ones.values()]
        mobile = [chain.ca_xyz().astype(np.float64) for chain in others.values()]
        shape = (len(fixed), len(mobile))
        found = cls(*(np.zeros(shape + rest) for rest in ((), (3,), (3,), (), (3, 3))))
        for row, name in enumerate(ones):
            for column, other in enumerate(others):
                pairs = table[name, other][0]
                if len(pairs) == 0:
                    continue
                a, b = fixed[row][pairs[:, 0]], mobile[column][pairs[:, 1]]
                found.count[row, column] = len(pairs)
                found.one[row, column], found.other[row, column] = a.mean(0), b.mean(0)
                found.square[row, column] = (a**2).sum(1).mean() + (b**2).sum(1).mean()
                found.cross[row, column] = b.T @ a / len(pairs)
        return found

    def superposed(self, assignment: _Assignment) -> tuple[np.ndarray, float]:
        """Mean squared distances (n, m) when the assigned chains of the second lie on the first's, and their RMSD."""
        rows, columns = np.array(assignment).T
        weight = self.count[rows, columns] / self.count[rows, columns].sum()
        one, other = weight @ self.one[rows, columns], weight @ self.other[rows, columns]
        cross = np.einsum("k,kij->ij", weight, self.cross[rows, columns])
        rotation = best_rotation(cross - np.outer(other, one))
        shift = one - rotation @ other
        squares = (
            self.square
            + shift @ shift
            + 2 * (self.other @ rotation.T - self.one) @ shift
            - 2 * np.einsum("ij,nmji->nm", rotation, self.cross)
        )
        squares = np.where(self.count > 0, np.maximum(squares, 0.0), np.inf)
        return squares, float(np.sqrt(weight @ squares[rows, columns]))


def _align_all(ones: Mapping[str, AtomicModel], others: Mapping[str, AtomicModel]) -> _Table:
    """Aligned residues and score for every two chains, none and 0 if they are not related; equal sequences once."""
    first = {name: sequence_of(chain) for name, chain in ones.items()}
    second = {name: sequence_of(chain) for name, chain in others.items()}
    known = {}
    for one in dict.fromkeys(first.values()):
        for other in dict.fromkeys(second.values()):
            pairs, score = scored_alignment(one, other)
            known[one, other] = (pairs, score) if _related(one, other, score) else (pairs[:0], 0)
    return {(name, other): known[first[name], second[other]] for name in first for other in second}


def _likeness(ones: Mapping[str, AtomicModel], others: Mapping[str, AtomicModel], table: _Table) -> np.ndarray:
    """(n, m): alignment scores, for all copies of a chain the best of theirs, 0 where chains are not related."""
    scores = np.array([[table[name, other][1] for other in others] for name in ones])
    rows, columns = (np.array(copies([sequence_of(each) for each in chains.values()])) for chains in (ones, others))
    best = np.zeros_like(scores)
    np.maximum.at(best, (rows[:, None], columns[None, :]), scores)
    return np.where(scores > 0, best[rows][:, columns], 0)


def _seeds(likeness: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of related chains to begin with: all, or in large complexes those of one chain of the smaller one."""
    pairs = [(int(row), int(column)) for row, column in np.argwhere(likeness > 0)]
    if len(pairs) <= MAX_SEEDS:
        return pairs
    side = 0 if likeness.shape[0] <= likeness.shape[1] else 1
    return [pair for pair in pairs if pair[side] == pairs[0][side]]


def _assignment(likeness: np.ndarray, moments: _Moments, seed: tuple[int, int]) -> _Assignment:
    """The assignment that follows from laying one chain on another, until it does not change any more."""
    assignment: _Assignment = (seed,)
    for _ in range(ITERATIONS):
        squares, _ = moments.superposed(assignment)
        value = np.where(likeness > 0, SCORE_WEIGHT * likeness - squares, 0.0)
        found = tuple(
            (int(row), int(column))
            for row, column in zip(*linear_sum_assignment(value, maximize=True), strict=True)
            if likeness[row, column] > 0
        )
        if found == assignment:
            break
        assignment = found
    return assignment


def _related(first: str, second: str, score: int) -> bool:
    shorter = first if len(first) < len(second) else second
    # Short chains cannot reach the score; half of what one has with itself will do for them.
    return score >= RELATED_SCORE or score >= scored_alignment(shorter, shorter)[1] / 2


def _copies(first: str, second: str) -> bool:
    if first == second:
        return True
    pairs = align_sequences(first, second)
    equal = sum(first[row] == second[other] for row, other in pairs.tolist())
    return 2 * len(pairs) >= min(len(first), len(second)) and equal >= COPY_IDENTITY * len(pairs)
