"""How well an ensemble covers a set of states, from the distances between them alone."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Coverage:
    """precision: mean over samples of the distance to the nearest state, which falls if all samples are right; recall:
    mean over states, weighted by population, of that to the nearest sample, which falls if no state is missed;
    wasserstein: 2-Wasserstein distance, which falls if the shares are right too. All in the unit of the distances.
    """

    precision: float
    recall: float
    wasserstein: float


def coverage(
    distances: np.ndarray, populations: np.ndarray | None = None, shares: np.ndarray | None = None
) -> Coverage:
    """Of distances (sample, state); populations (state,) need not sum to 1, without them all states weigh the same.

    shares (sample,), which sum to 1, weigh the samples in the Wasserstein distance; without them all weigh the same.
    """
    weights = np.ones(distances.shape[1]) if populations is None else np.asarray(populations, dtype=np.float64)
    return Coverage(
        precision=float(distances.min(1).mean()),
        recall=float(distances.min(0) @ weights / weights.sum()),
        wasserstein=wasserstein(distances, weights, shares),
    )


def wasserstein(distances: np.ndarray, populations: np.ndarray, shares: np.ndarray | None = None) -> float:
    """2-Wasserstein distance of samples from states, by distances (sample, state).

    populations (state,) need not sum to 1; shares (sample,) do, without them all samples weigh the same. Exact: POT's
    network simplex finds the plan.
    """
    import ot  # loads every array library that it finds; only those who measure should wait for that

    weights = np.full(len(distances), 1.0 / len(distances)) if shares is None else np.asarray(shares, dtype=np.float64)
    plan = np.asarray(ot.emd(weights, populations / populations.sum(), distances**2))
    return float(np.sqrt((plan * distances**2).sum()))
