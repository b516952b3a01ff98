"""Fluctuations of ensembles whose spread is known."""

import numpy as np
import pytest

from cryofound.evaluation.fluctuation import agreement, b_factors, fluctuations


@pytest.fixture
def breathing(peptide, rng):
    """Atoms (60, 3), and 400 conformations in which each strays by its own, small, random way."""
    start = peptide(15, -57.0, -47.0).positions_xyz.astype(float)
    sigma = np.linspace(0.01, 0.1, len(start))
    return start, sigma, start + rng.normal(size=(400, *start.shape)) * sigma[:, None]


def rmsf(conformations, start, chunk=7, **more):
    return fluctuations(
        lambda: (conformations[row : row + chunk] for row in range(0, len(conformations), chunk)), start, **more
    )


def test_random_moves_are_found_again_however_each_conformation_lies(breathing, turn):
    start, sigma, conformations = breathing
    found = rmsf(turn(conformations), start)
    np.testing.assert_allclose(found, np.sqrt(3) * sigma, rtol=0.15, atol=0.02)
    np.testing.assert_allclose(rmsf(conformations, start + [5.0, 0, 0], chunk=400), found, atol=1e-5)


def test_two_places_of_one_atom_are_half_their_distance_from_the_mean(breathing):
    start = breathing[0]
    two = np.stack([start, start])
    two[1, 0] += [4.0, 0.0, 0.0]
    core = np.arange(len(start)) > 0
    found = rmsf(two, start, core=core)
    assert found[0] == pytest.approx(2.0, abs=1e-5)
    assert found[1:] == pytest.approx(0.0, abs=1e-5)
    # weights p and 1 - p: the distance times the root of p (1 - p)
    weighted = rmsf(two, start, core=core, weights=np.array([9.0, 1.0]))
    assert weighted[0] == pytest.approx(4.0 * np.sqrt(0.9 * 0.1), abs=1e-5)


def test_one_conformation_does_not_fluctuate(breathing):
    assert rmsf(breathing[2][:1], breathing[0]) == pytest.approx(0.0, abs=1e-6)


def test_b_factor_has_its_closed_form():
    assert b_factors(np.array([0.0, 1.0, 2.0])) == pytest.approx([0.0, 26.3189, 105.2758], abs=1e-3)


def test_agreement_of_profiles():
    expected = np.array([1.0, 2.0, 3.0, 5.0])
    double = agreement(2 * expected, expected)
    assert (double.pearson, double.spearman) == pytest.approx((1.0, 1.0))
    assert double.rmse == pytest.approx(np.sqrt(39 / 4))
    ranked = agreement(expected**3, expected)
    assert ranked.spearman == pytest.approx(1.0)
    assert ranked.pearson < 0.99
    flat = agreement(np.zeros(4), expected)
    assert (flat.pearson, flat.spearman) == (None, None)
