"""Principal motions are those of the singular value decomposition, however the samples come and however many."""

import numpy as np
import pytest

from cryofound.evaluation.principal_motions import PrincipalMotions, principal_motions


def found(samples_xyz: np.ndarray, chunk: int = 7, count: int = 3) -> PrincipalMotions:
    return principal_motions(lambda: (samples_xyz[at : at + chunk] for at in range(0, len(samples_xyz), chunk)), count)


@pytest.mark.parametrize("number", [5, 60])
def test_they_are_those_of_the_singular_value_decomposition(number: int):
    rng = np.random.default_rng(1)
    directions = np.linalg.qr(rng.standard_normal((90, 5)))[0].T
    samples = 10 * rng.standard_normal(90) + (rng.standard_normal((number, 5)) * [9, 5, 3, 1, 0.5]) @ directions
    motions = found(samples.reshape(number, 30, 3))
    apart = samples - samples.mean(0)
    _, singular, right = np.linalg.svd(apart, full_matrices=False)
    assert motions.share == pytest.approx(singular[:3] ** 2 / (singular**2).sum(), abs=1e-6)
    own = motions.motion_xyz.reshape(3, 90) / np.sqrt(30)
    assert np.abs((own * right[:3]).sum(1)) == pytest.approx(np.ones(3), abs=1e-6)
    assert motions.place == pytest.approx(apart @ own.T / np.sqrt(30), abs=1e-6)
    assert motions.deviation == pytest.approx(singular[:3] / np.sqrt(30 * number), abs=1e-6)


def test_a_sample_at_a_place_of_one_angstrom_has_moved_by_one_angstrom():
    shift = np.zeros((20, 3))
    shift[:5, 1] = 2.0  # an RMS of 1 angstrom over 20 atoms
    base = np.random.default_rng(0).standard_normal((20, 3))
    motions = found(np.stack([base + k * shift for k in (-1.0, 0.0, 0.5, 2.5)]))
    assert motions.place[:, 0] == pytest.approx([-1.5, -0.5, 0.0, 2.0])
    assert motions.share == pytest.approx([1.0])
    assert motions.mean_xyz + motions.place[3, 0] * motions.motion_xyz[0] == pytest.approx(base + 2.5 * shift)


def test_samples_that_do_not_differ_have_no_motion():
    base = np.random.default_rng(0).standard_normal((20, 3))
    for number in (1, 4):
        motions = found(np.stack([base] * number))
        assert motions.motion_xyz.shape == (0, 20, 3)
        assert motions.place.shape == (number, 0)
        assert motions.mean_xyz == pytest.approx(base)
