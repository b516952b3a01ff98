"""Batches of like sizes: little padding, nobody favoured, and the same whoever reads them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofound.ensemble.buckets import Buckets, bucketed_batch, family_weights, make_buckets, padding_share

# family: box at 2 A, maps, least and most heavy atoms, and about as many residues and occupied latent tokens per atom
FAMILIES = {
    "calmodulin": (64, 48, 1100, 1180, 0.128, 0.060),
    "ras": (48, 22, 1290, 1400, 0.126, 0.036),
    "hsp90": (48, 34, 1600, 1780, 0.127, 0.035),
    "adk": (64, 18, 1640, 1680, 0.129, 0.042),
    "abl": (64, 26, 2060, 2260, 0.124, 0.036),
    "gpcr": (64, 32, 2180, 2520, 0.126, 0.040),
    "serca": (80, 9, 7650, 7680, 0.130, 0.030),
}


def families(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """box_sizes (sample,), sizes (sample, 3) and the family of each of the maps above, shuffled."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, (box, count, least, most, residues, tokens) in FAMILIES.items():
        for _ in range(count // 2):  # two maps a system
            atoms = rng.integers(least, most + 1)
            wide = rng.uniform(0.93, 1.07)
            rows += [(name, box, atoms, int(atoms * residues), int(atoms * tokens * wide))] * 2
    rows = [rows[row] for row in rng.permutation(len(rows))]
    table = np.array([row[1:] for row in rows])
    return table[:, 0], table[:, 1:], [row[0] for row in rows]


def visits(buckets: Buckets, samples: int, steps: range, seed: int) -> np.ndarray:
    counts = np.zeros(samples, dtype=int)
    for step in steps:
        np.add.at(counts, bucketed_batch(buckets, step, seed), 1)
    return counts


def test_padding_of_the_real_families_is_small() -> None:
    boxes, sizes, _ = families()
    buckets = make_buckets(boxes, sizes, 8)
    epoch = range(int(3 * buckets.epoch.sum()))
    assert padding_share(buckets, sizes, epoch, 0).max() < 0.15
    one = Buckets((np.arange(len(sizes)),), (8,), np.ones(len(sizes)))
    assert padding_share(one, sizes, epoch, 0).min() > 0.4
    assert len(buckets.rows) <= 6
    tight = make_buckets(boxes, sizes, 8, most_padding=0.03)
    assert len(tight.rows) > len(buckets.rows)
    assert padding_share(tight, sizes, epoch, 0).max() < 0.03


def test_batches_have_one_box() -> None:
    boxes, sizes, _ = families()
    buckets = make_buckets(boxes, sizes, 8)
    assert sorted(np.concatenate(buckets.rows).tolist()) == list(range(len(sizes)))
    for step in range(60):
        rows = bucketed_batch(buckets, step, 4)
        assert len(rows) == 8
        assert len(set(boxes[rows].tolist())) == 1


def test_every_sample_comes_once_an_epoch_where_batches_divide_buckets() -> None:
    boxes, sizes = np.repeat([48, 64, 80], [12, 8, 4]), np.repeat([[10, 3], [20, 6], [90, 30]], [12, 8, 4], axis=0)
    buckets = make_buckets(boxes, sizes, 4)
    for epoch in range(4):
        assert visits(buckets, 24, range(6 * epoch, 6 * epoch + 6), seed=epoch).tolist() == [1] * 24


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 150))
def test_nobody_is_favoured_at_any_time(seed: int, batch_size: int, steps: int) -> None:
    boxes, sizes, _ = families(seed)
    buckets = make_buckets(boxes, sizes, batch_size)
    counts = visits(buckets, len(sizes), range(steps), seed)
    assert counts.sum() == steps * batch_size
    for rows in buckets.rows:  # within a bucket one pass after another
        assert np.ptp(counts[rows]) <= 1
    share = buckets.epoch / buckets.epoch.sum()
    turns = np.array([counts[rows].sum() for rows in buckets.rows]) / batch_size
    assert np.abs(turns - steps * share).max() < 1 + max(buckets.epoch)
    block = int(np.ceil(max(buckets.epoch.sum(), 1 / share.min()) - 1e-6))
    counts = visits(buckets, len(sizes), range(3 * block), seed)
    turns = np.array([counts[rows].sum() for rows in buckets.rows]) / batch_size
    assert np.abs(turns - 3 * block * share).max() < 1


def test_a_weight_is_how_often_a_sample_is_seen() -> None:
    boxes, sizes, names = families()
    weights = family_weights(names, 1.0)
    buckets = make_buckets(boxes, sizes, 4, weights=weights)
    counts = visits(buckets, len(sizes), range(1500), seed=1)
    seen = {name: counts[[each == name for each in names]] for name in FAMILIES}
    shares = np.array([each.sum() for each in seen.values()]) / counts.sum()
    np.testing.assert_allclose(shares, 1 / len(FAMILIES), atol=0.004)
    for each in seen.values():
        assert np.ptp(each) <= 4
    half = family_weights(names, 0.5)
    assert half[names.index("calmodulin")] / half[names.index("serca")] == pytest.approx((8 / 48) ** 0.5)
    np.testing.assert_array_equal(family_weights(names, 0.0), 1.0)


def test_ranks_part_a_batch_and_any_step_can_be_asked_first() -> None:
    boxes, sizes, names = families()
    buckets = make_buckets(boxes, sizes, 6, weights=family_weights(names, 0.5))
    batches = [bucketed_batch(buckets, step, 9).tolist() for step in range(50)]
    for step in reversed(range(50)):
        rows = bucketed_batch(make_buckets(boxes, sizes, 6, weights=family_weights(names, 0.5)), step, 9)
        assert rows.tolist() == batches[step]
        assert sorted(rows[0::2].tolist() + rows[1::2].tolist()) == sorted(batches[step])
    assert [bucketed_batch(buckets, step, 10).tolist() for step in range(50)] != batches


def test_a_bucket_too_small_for_a_batch_repeats_its_samples() -> None:
    boxes, sizes = np.array([48] * 9 + [80] * 3), np.array([[100]] * 9 + [[800]] * 3)
    buckets = make_buckets(boxes, sizes, 8)
    large = next(rows for step in range(40) if boxes[(rows := bucketed_batch(buckets, step, 0))[0]] == 80)
    assert np.bincount(large)[9:].tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])
    counts = visits(buckets, 12, range(300), seed=0)
    np.testing.assert_allclose(counts, 200, atol=8)


def test_two_small_buckets_become_one_where_the_padding_allows() -> None:
    sizes = np.array([[100]] * 3 + [[105]] * 3 + [[112]] * 3 + [[118]] * 3)
    boxes = np.full(12, 48)
    assert [rows.tolist() for rows in make_buckets(boxes, sizes, 6, most_padding=0.05).rows] == [
        list(range(6)),
        list(range(6, 12)),
    ]
    assert len(make_buckets(boxes, sizes, 6, most_padding=0.15).rows) == 1


def test_dear_batches_are_smaller_and_still_nobody_is_favoured() -> None:
    boxes, sizes, _ = families()
    buckets = make_buckets(boxes, sizes, 8, cost=boxes.astype(float) ** 3, multiple=2)
    by_box = {int(boxes[rows[0]]): size for rows, size in zip(buckets.rows, buckets.batch_sizes, strict=True)}
    assert by_box == {48: 8, 64: 2, 80: 2}  # 8 x (48/64)^3 = 3.4, 8 x (48/80)^3 = 1.7
    counts = visits(buckets, len(sizes), range(2000), seed=3)
    assert np.ptp(counts) <= 3


def test_shares_of_families_multiply_their_weights() -> None:
    names = ["a", "a", "b"]
    np.testing.assert_allclose(family_weights(names, 1.0, {"b": 3.0}), [0.5, 0.5, 3.0])
