"""Coverage of states by samples, from tables of distances whose answer can be read off."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cryofound.evaluation.coverage import coverage

DISTANCES = np.array([[0.0, 4.0], [1.0, 3.0], [2.0, 5.0]])


def test_precision_asks_the_samples_and_recall_the_states():
    found = coverage(DISTANCES)
    assert found.precision == pytest.approx((0 + 1 + 2) / 3)
    assert found.recall == pytest.approx((0 + 3) / 2)


def test_a_state_counts_by_its_population():
    assert coverage(DISTANCES, np.array([30, 10])).recall == pytest.approx(0.75 * 0 + 0.25 * 3)
    alone = coverage(DISTANCES, np.array([1.0, 0.0]))
    assert alone.recall == 0
    assert alone.wasserstein == pytest.approx(np.sqrt((0 + 1 + 4) / 3))


def test_wasserstein_is_the_best_assignment_where_weights_are_equal(rng):
    distances = rng.uniform(size=(40, 40))
    rows, columns = linear_sum_assignment(distances**2)
    expected = np.sqrt((distances[rows, columns] ** 2).mean())
    assert coverage(distances).wasserstein == pytest.approx(expected, rel=1e-9)
    # A state of thrice the weight is as three states.
    thrice = coverage(np.repeat(distances[:, :20], [3] * 10 + [1] * 10, axis=1))
    weighted = coverage(distances[:, :20], np.repeat([3.0, 1.0], 10))
    assert weighted.wasserstein == pytest.approx(thrice.wasserstein, rel=1e-9)
    assert weighted.recall == pytest.approx(thrice.recall, rel=1e-9)
