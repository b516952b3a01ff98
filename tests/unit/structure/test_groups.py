"""Groups of residues."""

import numpy as np
import pytest

from cryofound.structure.groups import group_shares


@pytest.fixture
def lobes() -> np.ndarray:
    """CA atoms of two lobes 60 A apart, each of two halves 24 A apart."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [24, 0, 0], [0, 60, 0], [24, 60, 0]], dtype=float)
    return (centres[:, None] + rng.normal(scale=3.0, size=(4, 30, 3))).reshape(-1, 3)


def test_levels_cut_a_protein_where_it_is_thin(lobes):
    coarse, fine = np.split(group_shares(lobes, (2, 4)), [2], axis=1)
    assert [len(set(part)) for part in coarse.argmax(1).reshape(2, 60)] == [1, 1]
    assert len(set(coarse.argmax(1))) == 2
    assert [len(set(part)) for part in fine.argmax(1).reshape(4, 30)] == [1] * 4
    assert len(set(fine.argmax(1))) == 4


def test_shares_sum_to_one_in_every_level_and_pass_over_smoothly():
    line = np.arange(60.0)[:, None] * [3.8, 0, 0]
    shares = group_shares(line, (2, 8))
    np.testing.assert_allclose(shares[:, :2].sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(shares[:, 2:].sum(1), 1, rtol=1e-5)
    assert np.abs(np.diff(shares[:, 0])).max() < 0.35  # of neighbours 3.8 A apart
    assert shares[0].max() == pytest.approx(1, abs=1e-3)


def test_groups_turn_with_the_protein(lobes):
    turned = lobes[:, [1, 2, 0]] + 100.0
    np.testing.assert_allclose(group_shares(turned, (2, 4, 8)), group_shares(lobes, (2, 4, 8)), atol=1e-5)


def test_fewer_residues_than_groups_leave_groups_empty():
    shares = group_shares(np.array([[0.0, 0, 0], [30, 0, 0], [60, 0, 0]]), (2, 8))
    assert shares.shape == (3, 10)
    np.testing.assert_allclose(shares[:, 2:].sum(1), 1, rtol=1e-5)
    assert group_shares(np.zeros((1, 3)), (2, 4)).tolist() == [[1, 0, 1, 0, 0, 0]]
    assert group_shares(np.zeros((5, 3)), ()).shape == (5, 0)
