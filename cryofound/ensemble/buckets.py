"""Batches of one box and of like sizes, in an order that seed and step alone decide.

A batch has one box and is padded to its largest molecule, so samples are put into buckets: by box first, then cut where
padding would grow too large. Buckets take turns in proportion to the weight of their samples, and each walks through
its own samples, pass after pass: how often a sample is seen follows its weight alone, never the bucket it is in.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MOST_PADDING = 0.15
GOLDEN = (math.sqrt(5) - 1) / 2
ROUNDING = 1e-6  # of a count, so that one which is whole but for rounding is whole


@dataclass(frozen=True)
class Buckets:
    """How samples are batched.

    rows: the samples of each bucket, increasing int64; batch_sizes: samples in a batch of each; weights (sample,)
    float64, mean 1: how often each sample is seen beside the others.
    """

    rows: tuple[np.ndarray, ...]
    batch_sizes: tuple[int, ...]
    weights: np.ndarray

    @property
    def epoch(self) -> np.ndarray:
        """(bucket,) float64: batches of each bucket while as many samples are seen as there are."""
        return np.array([self.weights[rows].sum() for rows in self.rows]) / np.array(self.batch_sizes)


def make_buckets(
    box_sizes: np.ndarray,
    sizes: np.ndarray,
    batch_size: int,
    *,
    weights: np.ndarray | None = None,
    most_padding: float = MOST_PADDING,
    cost: np.ndarray | None = None,
    multiple: int = 1,
) -> Buckets:
    """Samples in as few buckets as their padding allows: the fewer, the more is mixed in a batch.

    box_sizes (sample,) voxels per edge; sizes (sample, measure): what is padded, as numbers of atoms, residues and
    latent tokens; weights (sample,), all alike if None. Padded to the largest sample of its bucket, no measure has more
    than `most_padding` of padding. Buckets that cannot fill a batch are avoided where possible; such a one repeats its
    samples. With `cost` (sample,) a batch of a dearer bucket is smaller than `batch_size` by as much as its dearest
    sample costs more than the cheapest bucket's, in multiples of `multiple` (the ranks that share a batch).
    """
    relative = np.ones(len(sizes)) if weights is None else weights / weights.mean()
    rows = [
        bucket
        for box_size in np.unique(box_sizes)
        for bucket in _cut(np.flatnonzero(box_sizes == box_size), sizes, relative, batch_size, most_padding)
    ]
    batch_sizes = [batch_size] * len(rows)
    if cost is not None:
        dearest = [float(cost[bucket].max()) for bucket in rows]
        wanted = [batch_size * min(dearest) / each / multiple for each in dearest]
        batch_sizes = [multiple * max(1, math.floor(number + ROUNDING)) for number in wanted]
    return Buckets(tuple(rows), tuple(batch_sizes), relative)


def family_weights(families: Sequence[str], exponent: float, shares: Mapping[str, float] | None = None) -> np.ndarray:
    """(sample,) float64: the size of each sample's family to the power -exponent, times the family's share (else 1).

    Exponent 0: every map counts alike; 1: every family does, however many maps it has.
    """
    members = Counter(families)
    return np.array([(shares or {}).get(family, 1.0) * members[family] ** -exponent for family in families])


def bucketed_batch(buckets: Buckets, step: int, seed: int) -> np.ndarray:
    """(batch,) int64: the samples of one step of all ranks together, all of one bucket; rank r of w takes [r::w].

    A pure function of its arguments. A pass through a bucket of n samples draws n: each once where weights are alike,
    else each as often as its share of the weight says, rounded up or down by chance without bias (systematic sampling).
    """
    bucket, turn = _turn(buckets, step, seed)
    rows, size = buckets.rows[bucket], buckets.batch_sizes[bucket]
    places = turn * size + np.arange(size)
    passes = places // len(rows)
    order = {number: _pass(buckets, bucket, number, seed) for number in np.unique(passes).tolist()}
    return np.array([order[each][place] for each, place in zip(passes.tolist(), places % len(rows), strict=True)])


def padding_share(buckets: Buckets, sizes: np.ndarray, steps: range, seed: int) -> np.ndarray:
    """(measure,): the share of padding in the batches of `steps`, each padded to its own largest; `sizes` as above."""
    batches = [sizes[bucketed_batch(buckets, step, seed)] for step in steps]
    filled = np.sum([batch.sum(0) for batch in batches], 0)
    return 1 - filled / np.sum([len(batch) * batch.max(0) for batch in batches], 0)


def _cut(
    rows: np.ndarray, sizes: np.ndarray, weights: np.ndarray, batch_size: int, most_padding: float
) -> list[np.ndarray]:
    """The samples `rows` of one box in buckets: fewest, with those too small for a batch counting twice, then tightest.

    Found by dynamic programming over the kinds of samples, those of equal sizes, in order of their mean relative size.
    """
    kinds, kind = np.unique(sizes[rows], axis=0, return_inverse=True)
    order = np.argsort((kinds / kinds.max(0)).mean(1), kind="stable")
    kinds, kind = kinds[order], np.argsort(order)[kind.reshape(-1)]
    mass = np.bincount(kind, weights[rows])
    members = np.bincount(kind)
    cost, padded, begin = np.zeros(len(kinds) + 1), np.zeros(len(kinds) + 1), [0] * (len(kinds) + 1)
    for end in range(1, len(kinds) + 1):
        # Of a last bucket that begins at each place before `end`, the nearest first: all by running sums and maxima.
        last = slice(end - 1, None, -1)
        held = np.cumsum(mass[last])
        padding = 1 - np.cumsum(mass[last, None] * kinds[last], 0) / held[:, None] / np.maximum.accumulate(
            kinds[last], 0
        )
        worst = padding.max(1)
        price = cost[last] + 1 + (np.cumsum(members[last]) < batch_size)
        price[worst > most_padding + ROUNDING] = np.inf
        choice = int(np.lexsort((padded[last] + held * worst, price))[0])
        begin[end] = end - 1 - choice
        cost[end], padded[end] = price[choice], padded[begin[end]] + held[choice] * worst[choice]
    cuts = [len(kinds)]
    while cuts[-1]:
        cuts.append(begin[cuts[-1]])
    return [rows[(kind >= first) & (kind < end)] for first, end in itertools.pairwise(reversed(cuts))]


def _turn(buckets: Buckets, step: int, seed: int) -> tuple[int, int]:
    """The bucket whose turn a step is, and how many turns it has had before.

    In blocks of about an epoch, in which every bucket has its share of the turns, rounded so that what is lost in one
    block is made up in the next; within a block turns are shuffled.
    """
    share = buckets.epoch / buckets.epoch.sum()
    block = math.ceil(max(buckets.epoch.sum(), 1 / share.min()) - ROUNDING)  # so long that no number below is negative
    number, place = divmod(step, block)
    ends = np.append(np.cumsum(share)[:-1], 1.0)
    before, after = (
        np.diff(np.floor(each * block * ends + ROUNDING).astype(np.int64), prepend=0) for each in (number, number + 1)
    )
    turns = np.repeat(np.arange(len(share)), after - before)
    turns = np.random.default_rng([seed, 0, number]).permutation(turns)
    bucket = int(turns[place])
    return bucket, int(before[bucket] + (turns[:place] == bucket).sum())


def _pass(buckets: Buckets, bucket: int, number: int, seed: int) -> np.ndarray:
    """The samples of one pass through a bucket, as many as it has, shuffled."""
    rows = buckets.rows[bucket]
    expected = np.cumsum(buckets.weights[rows]) * (len(rows) / buckets.weights[rows].sum())
    expected[-1] = len(rows)
    # By the golden ratio's multiples: passes that round the same way are spread evenly.
    offset = (np.random.default_rng([seed, 1, bucket]).random() + number * GOLDEN) % 1
    offset = ROUNDING + (1 - 2 * ROUNDING) * offset
    times = np.diff(np.floor(expected + offset).astype(np.int64), prepend=0)
    return np.random.default_rng([seed, 2, bucket, number]).permutation(np.repeat(rows, times))
