"""How far each residue strays from the mean of an ensemble (RMSF), and what that says beside the true fluctuation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from cryofound.evaluation.superposition import superposed

ROUNDS = 100
SETTLED = 1e-6  # angstrom; a round that moves the mean less is the last


@dataclass(frozen=True)
class Agreement:
    """Of two profiles of fluctuation: correlations, None where one of them is constant, and RMSE in angstrom."""

    pearson: float | None
    spearman: float | None
    rmse: float


def fluctuations(
    conformations: Callable[[], Iterable[np.ndarray]],
    start_xyz: np.ndarray,
    core: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """(atom,) float64 angstrom: root mean square distance of each atom from its mean position.

    `conformations` gives, each time it is called, the same chunks (some, atom, 3) one after another. All are
    superposed, by all atoms or by `core` (atom,) bool, on their mean, which is found by turns, beginning with
    `start_xyz` (atom, 3). weights (conformation,) need not sum to 1; without them all weigh the same.
    """
    mean = np.asarray(start_xyz, dtype=np.float64)
    squares = np.zeros(len(mean))
    for _ in range(ROUNDS):
        total, squares, weight, seen = np.zeros_like(mean), np.zeros(len(mean)), 0.0, 0
        for chunk in conformations():
            each = np.ones(len(chunk)) if weights is None else weights[seen : seen + len(chunk)]
            moved = superposed(chunk, mean, core) - mean
            total += np.einsum("c,cai->ai", each, moved)
            squares += each @ (moved**2).sum(2)
            weight, seen = weight + float(each.sum()), seen + len(chunk)
        shift = total / weight
        squares = squares / weight - (shift**2).sum(1)
        mean = mean + shift
        if np.sqrt((shift**2).sum(1).mean()) < SETTLED:
            break
    return np.sqrt(np.maximum(squares, 0.0))


def b_factors(rmsf: np.ndarray) -> np.ndarray:
    """Isotropic B-factors in square angstrom of fluctuations in angstrom: 8 pi^2 / 3 RMSF^2."""
    return 8 * np.pi**2 / 3 * np.asarray(rmsf, dtype=np.float64) ** 2


def agreement(found: np.ndarray, expected: np.ndarray) -> Agreement:
    """Of two profiles (residue,) angstrom."""
    constant = np.ptp(found) == 0 or np.ptp(expected) == 0
    return Agreement(
        pearson=None if constant else float(np.corrcoef(found, expected)[0, 1]),
        spearman=None if constant else float(np.corrcoef(rankdata(found), rankdata(expected))[0, 1]),
        rmse=float(np.sqrt(((found - expected) ** 2).mean())),
    )
