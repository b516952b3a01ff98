import dataclasses
from itertools import combinations

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.evaluation.metrics import diversity, evaluate_system, expected_closest, state_distances


@pytest.fixture
def opened_and_closed(peptide):
    """A reference and its two states: the second half of the chain 4 A up, and 4 A down."""
    reference = peptide(30, -57.0, -47.0)
    axis = np.array([0.0, 0.0, 1.0])
    hinge = np.where(reference.residue_index < 15, 0.0, 4.0)[:, None] * axis
    return reference, np.stack([reference.positions_xyz + hinge, reference.positions_xyz - hinge]), hinge


def test_constructed_ensemble_has_known_scores(opened_and_closed, make_system, turn):
    reference, truth, hinge = opened_and_closed
    system = make_system(reference, truth)
    shares = np.array([1.0, 0.9, 0.5, -0.6, -1.0, 0.7])
    samples = turn(reference.positions_xyz + shares[:, None, None] * hinge)
    first, second = evaluate_system(system, samples, reference.positions_xyz[None] + 0.5 * hinge)
    assert (first.nearest_count, second.nearest_count) == (4, 2)
    # The truths themselves are among the samples.
    assert first.recall_rmsd == pytest.approx(0, abs=1e-3)
    assert second.recall_rmsd == pytest.approx(0, abs=1e-3)
    assert first.static_rmsd == pytest.approx(second.static_rmsd, rel=0.05)
    assert first.normal_modes_rmsd < 0.7 * first.static_rmsd < first.static_rmsd < second.normal_modes_rmsd
    assert (first.split, second.split) == ("train", "validation")
    assert (first.n_atoms, first.n_samples) == (120, 6)


def test_superposed_shift_has_its_closed_form(peptide, make_system):
    # Two points of equal weight that part by d along the line between them end d/2 away from where they were.
    reference = peptide(2, -57.0, -47.0)
    positions = np.zeros((8, 3), dtype=np.float32)
    positions[4:, 0] = 10.0
    reference = reference.moved(positions + np.array([[0, 1e-3, 0], [0, -1e-3, 0], [0, 0, 1e-3], [0, 0, -1e-3]] * 2))
    parted = reference.positions_xyz + np.where(np.arange(8) < 4, 0.0, 3.0)[:, None] * np.array([1.0, 0.0, 0.0])
    (score,) = evaluate_system(make_system(reference, parted[None]), reference.positions_xyz[None], parted[None])
    assert score.static_rmsd == pytest.approx(1.5, abs=1e-5)
    assert score.recall_rmsd == score.static_rmsd
    assert score.normal_modes_rmsd == pytest.approx(0, abs=1e-5)


def test_only_known_atoms_count(opened_and_closed, make_system):
    reference, truth, _ = opened_and_closed
    mask = np.ones(truth.shape[:2], dtype=bool)
    mask[0, 60:] = False  # the moving half of state a
    mask[1] = False  # state b is unknown
    truth = np.where(mask[..., None], truth, np.nan)
    static = reference.positions_xyz[None]
    (score,) = evaluate_system(make_system(reference, truth, mask), static, static)
    assert score.state_id == "a"
    assert score.n_atoms == 60
    assert score.recall_rmsd == pytest.approx(0, abs=1e-3)
    assert score.nearest_count == 1


def test_all_states_of_a_held_out_system_are_held_out(opened_and_closed, make_system):
    reference, truth, _ = opened_and_closed
    scores = evaluate_system(make_system(reference, truth, split="held_out"), truth, truth)
    assert {score.split for score in scores} == {"held_out"}


def test_renaming_atoms_and_turning_samples_changes_no_score(opened_and_closed, make_system, turn, rng):
    reference, truth, _ = opened_and_closed
    samples = reference.positions_xyz + rng.normal(scale=2.0, size=(7, 120, 3))
    before = evaluate_system(make_system(reference, truth), samples, samples[:2])
    order = rng.permutation(120)
    shuffled = dataclasses.replace(reference, positions_xyz=reference.positions_xyz[order])
    turned = turn(samples)
    after = evaluate_system(make_system(shuffled, truth[:, order]), turned[:, order], turned[:2, order])
    for one, other in zip(before, after, strict=True):
        assert one.nearest_count == other.nearest_count
        for name in ("recall_rmsd", "static_rmsd", "normal_modes_rmsd"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4)


def test_recall_is_the_smallest_distance(opened_and_closed, make_system, rng):
    reference, truth, _ = opened_and_closed
    system = make_system(reference, truth)
    samples = reference.positions_xyz + rng.normal(scale=2.0, size=(7, 120, 3))
    distances = state_distances(system, samples)
    assert distances.shape == (7, 2)
    assert [score.recall_rmsd for score in evaluate_system(system, samples, samples)] == list(distances.min(0))
    # More samples never make the closest one worse.
    assert (state_distances(system, samples[:3]).min(0) >= distances.min(0)).all()


def test_expected_closest_is_the_mean_over_all_choices(rng):
    distances = rng.random((7, 2))
    for n in (1, 3, 7):
        every_choice = [distances[list(rows)].min(0) for rows in combinations(range(7), n)]
        np.testing.assert_allclose(expected_closest(distances, n), np.mean(every_choice, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(expected_closest(distances, 20), distances.min(0))


def test_a_larger_pool_of_normal_modes_does_not_favour_the_baseline(opened_and_closed, make_system, rng):
    reference, truth, _ = opened_and_closed
    system = make_system(reference, truth)
    pool = reference.positions_xyz + rng.normal(scale=2.0, size=(40, 120, 3))
    once = evaluate_system(system, pool[:4], pool)
    repeated = evaluate_system(system, pool[:4], np.concatenate([pool] * 5))
    assert once[0].normal_modes_rmsd == pytest.approx(repeated[0].normal_modes_rmsd, rel=0.02)
    assert once[0].normal_modes_rmsd > state_distances(system, pool)[:, 0].min()


def test_diversity_is_the_mean_over_pairs(peptide, turn):
    reference = peptide(2, -57.0, -47.0)
    spots = np.array([[0, 1e-3, 0], [0, -1e-3, 0], [0, 0, 1e-3], [0, 0, -1e-3]] * 2)
    half = (np.arange(8) >= 4)[:, None] * np.array([1.0, 0.0, 0.0])
    # Two clusters of atoms 10, 12 and 16 A apart: pairwise RMSD 1, 3 and 2.
    conformations = turn(spots + np.array([10.0, 12.0, 16.0])[:, None, None] * half)
    assert diversity(conformations) == pytest.approx(2.0, abs=1e-5)
    assert diversity(conformations[:1]) == 0.0
    assert reference.n_atoms == conformations.shape[1]


def test_wrong_atoms_and_broken_numbers_are_refused(opened_and_closed, make_system):
    reference, truth, _ = opened_and_closed
    system = make_system(reference, truth)
    with pytest.raises(StructureError, match=r"samples have shape \(2, 119, 3\), expected \(samples, 120, 3\)"):
        evaluate_system(system, truth[:, 1:], truth)
    broken = truth.copy()
    broken[1, 3, 2] = np.nan
    with pytest.raises(StructureError, match=r"peptide: 1 of 2 normal-mode samples .* \(first: 1\)"):
        evaluate_system(system, truth, broken)
