"""Principal motions of an ensemble: the directions in which its samples differ most, and where each sample lies."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

SPARE = 8  # directions that are searched beside those that are asked for
ROUNDS = 8
SMALLEST = 1e-3  # of the first motion's amplitude: less is rounding


@dataclass(frozen=True)
class PrincipalMotions:
    """The mean (atom, 3) of an ensemble and its principal motions, the largest first, float64.

    motion_xyz (motion, atom, 3), angstrom: how each atom moves where the whole moves by an RMS of 1 angstrom, so that
    mean + place * motion is a conformation; place (sample, motion) angstrom; share (motion,): of the variance.
    """

    mean_xyz: np.ndarray
    motion_xyz: np.ndarray
    place: np.ndarray
    share: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """(motion,) angstrom: RMS of the samples' places."""
        return np.sqrt((self.place**2).mean(0))


def principal_motions(samples: Callable[[], Iterable[np.ndarray]], count: int = 3) -> PrincipalMotions:
    """The first `count` motions, or as many as there are; `samples` gives the same chunks (some, atom, 3) each time.

    They are compared as they lie. Found by subspace iteration with chunks (Halko, Martinsson and Tropp 2011,
    doi:10.1137/090771806), so that memory is that of a few samples; exact for no more than count + SPARE samples. The
    sign of a motion is that by which the sample farthest from the mean lies in its direction.
    """
    total, number = np.zeros(()), 0
    for chunk in samples():
        total, number = total + chunk.sum(0, dtype=np.float64), number + len(chunk)
    mean = total / number

    def apart() -> Iterable[np.ndarray]:
        return ((chunk - mean).reshape(len(chunk), -1) for chunk in samples())

    width = min(number, count + SPARE)
    weights = np.random.default_rng(0).standard_normal((number, width))
    for _ in range(ROUNDS):
        span, _ = np.linalg.qr(_weighted(apart(), weights))
        weights, _ = np.linalg.qr(np.concatenate([rows @ span for rows in apart()]))
    left, singular, right = np.linalg.svd(_weighted(apart(), weights), full_matrices=False)
    variance = sum(float((rows**2).sum()) for rows in apart())
    kept = min(count, number - 1, int((singular > SMALLEST * max(singular[0], 1e-9)).sum()))
    place = (weights @ right.T * singular)[:, :kept]
    sign = np.sign(place[np.abs(place).argmax(0), np.arange(kept)]) if kept else np.ones(0)
    scale = np.sqrt(len(mean))  # of a motion whose RMS over atoms is 1 angstrom
    return PrincipalMotions(
        mean_xyz=mean,
        motion_xyz=(left[:, :kept] * sign * scale).T.reshape(kept, len(mean), 3),
        place=place * sign / scale,
        share=singular[:kept] ** 2 / variance if variance else np.zeros(0),
    )


def _weighted(chunks: Iterable[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """(coordinate, direction): sums of all rows with weights (row, direction)."""
    found, seen = np.zeros(()), 0
    for rows in chunks:
        found = found + rows.T @ weights[seen : seen + len(rows)]
        seen += len(rows)
    return found
