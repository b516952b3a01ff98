"""Few samples that stand for many draws: the medoids of a pool, each with the share of the draws that it stands for.

Sixteen draws at random of a wide ensemble leave parts of it out, and which ones is chance.
"""

from dataclasses import dataclass

import numpy as np

from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel

ROUNDS = 50  # of exchanges; a few are enough


@dataclass(frozen=True)
class Representatives:
    """row (representative,) int64 of the pool, those that stand for most first; share (representative,), sum one."""

    row: np.ndarray
    share: np.ndarray


def representatives(reference: AtomicModel, pool_xyz: np.ndarray, n: int, kept: int = 0) -> Representatives:
    """The `n` of a pool (draw, atom, 3) to which all are nearest by the squares of their CA's RMSD (k-medoids).

    The first `kept` of the pool are among them whatever they stand for. Each is superposed on the reference by all CA.
    They are found greedily and then exchanged within their clusters: Kaufman & Rousseeuw 1990,
    doi:10.1002/9780470316801.ch2; Park & Jun 2009, doi:10.1016/j.eswa.2008.01.039.
    """
    ca = reference.backbone_index()[:, 1]
    fixed = reference.positions_xyz[ca].astype(np.float64)
    moved = [superpose(each, fixed).apply(each).ravel() for each in pool_xyz[:, ca].astype(np.float64)]
    points = np.stack(moved) - fixed.ravel()
    squares = (points**2).sum(1)
    distance = np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0)
    medoids = _greedy(distance, n, kept)
    for _ in range(ROUNDS):
        nearest = _nearest(distance, medoids)
        inside = [np.flatnonzero(nearest == cluster) for cluster in range(len(medoids))]
        better = np.array([rows[distance[np.ix_(rows, rows)].sum(0).argmin()] for rows in inside])
        better[:kept] = medoids[:kept]
        if np.array_equal(better, medoids):
            break
        medoids = better
    count = np.bincount(_nearest(distance, medoids), minlength=len(medoids))
    order = np.argsort(-count, kind="stable")
    return Representatives(medoids[order], count[order] / len(pool_xyz))


def _nearest(distance: np.ndarray, medoids: np.ndarray) -> np.ndarray:
    """(draw,) number of the medoid that is nearest; a medoid's own is itself, also where others are its equal."""
    nearest = distance[medoids].argmin(0)
    nearest[medoids] = np.arange(len(medoids))
    return nearest


def _greedy(distance: np.ndarray, n: int, kept: int) -> np.ndarray:
    """(n,) rows: the first `kept`, then each the one that brings all nearest to those that are chosen, beside these."""
    medoids = list(range(kept)) or [int(distance.sum(0).argmin())]
    left = distance[medoids].min(0)
    while len(medoids) < n:
        gain = np.maximum(left - distance, 0).sum(1)
        gain[medoids] = -1  # equal draws gain nothing, but are not chosen twice
        medoids.append(int(gain.argmax()))
        left = np.minimum(left, distance[medoids[-1]])
    return np.array(medoids)
