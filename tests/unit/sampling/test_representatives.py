"""Few samples that stand for many."""

import numpy as np
import pytest

from cryofound.sampling.representatives import representatives
from tests.made_proteins import made_protein

REFERENCE = made_protein(40, seed=0)


def bent(degrees: float) -> np.ndarray:
    return made_protein(40, seed=0, hinge_degrees=degrees).positions_xyz


def test_every_group_of_a_pool_has_one_that_stands_for_it_and_for_as_many_as_it_has():
    pool = np.stack([bent(angle) for angle in (-31, -30, -29, 0, 40, 41)])
    found = representatives(REFERENCE, pool, 3)
    assert found.row.tolist()[0] == 1, "the middle one of the most"
    assert {row in (0, 1, 2) for row in found.row.tolist()} == {True, False}
    assert sorted(found.share.tolist()) == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert 3 in found.row.tolist(), "the only one of its kind"


def test_turning_a_draw_as_a_whole_changes_nothing():
    pool = np.stack([bent(angle) for angle in (-30, -28, -14, 20, 31)])
    turned = pool.copy()
    turned[::2] = turned[::2] @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], dtype=np.float32) + 50
    one, other = (representatives(REFERENCE, each, 2) for each in (pool, turned))
    assert np.array_equal(one.row, other.row)
    assert np.allclose(one.share, other.share)


def test_representatives_are_nearer_to_all_than_as_many_by_chance():
    random = np.random.default_rng(0)
    angles = random.normal(scale=25, size=64)
    pool = np.stack([bent(angle) for angle in angles])
    found = representatives(REFERENCE, pool, 6)

    def away(rows: np.ndarray) -> float:
        return float((np.abs(angles[:, None] - angles[rows]).min(1) ** 2).mean())

    by_chance = [away(random.choice(64, 6, replace=False)) for _ in range(200)]
    assert away(found.row) < min(by_chance) * 1.1
    assert away(found.row) < 0.6 * np.median(by_chance)


def test_what_is_kept_is_chosen_whatever_it_stands_for():
    pool = np.stack([bent(angle) for angle in (1, 0, 0.5, 40, 41, 42)])
    assert 0 not in representatives(REFERENCE, pool, 2).row
    assert 0 in representatives(REFERENCE, pool, 2, kept=1).row


def test_equal_draws_are_not_chosen_twice():
    pool = np.stack([bent(angle) for angle in (0, 0, 0, 20)])
    found = representatives(REFERENCE, pool, 3)
    assert len(set(found.row.tolist())) == 3
    assert found.share.sum() == pytest.approx(1)
