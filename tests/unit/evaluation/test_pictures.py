import dataclasses

import numpy as np
import pytest
from matplotlib.image import imread

from cryofound.evaluation.pictures import (
    collect_motions,
    ensemble_picture,
    leading_direction,
    principal_components,
    save_ensemble_picture,
    state_colours,
)


@pytest.fixture
def bending(peptide, make_system):
    """A chain whose residues move along z by their distance from the middle: no rotation can undo a symmetric bend."""
    reference = peptide(21, -120.0, 120.0)
    bend = (np.abs(reference.residue_index - 10) / 10.0 * 3.0)[:, None] * np.array([0.0, 0.0, 1.0])
    return make_system(reference, np.stack([reference.positions_xyz + bend, reference.positions_xyz - bend])), bend


def legend_of(axes):
    return [text.get_text() for text in axes.figure.legends[0].get_texts()]


def test_picture_holds_every_state_and_sample(bending):
    system, bend = bending
    samples = system.reference.positions_xyz + np.linspace(-1, 1, 5)[:, None, None] * bend
    profile, projection = ensemble_picture(system, samples).axes
    assert len(profile.lines) == 5 + 2 + 1  # samples, states, the reference's zero line
    bold = [line for line in profile.lines if line.get_linewidth() > 2]
    thin = profile.lines[:5]
    # The first sample is state b and the last is state a: same curve, same colour.
    for line, state in ((thin[0], bold[1]), (thin[4], bold[0])):
        np.testing.assert_allclose(line.get_ydata(), state.get_ydata(), atol=1e-3)
        assert line.get_color() == state.get_color()
    assert profile.get_xlabel() == "residue"
    assert "(Å)" in profile.get_ylabel()
    assert legend_of(projection) == ["sample (colour: nearest state)", "state a", "state b", "reference"]
    assert "principal component 1 (100 %" in projection.get_xlabel()
    points = projection.collections[0].get_offsets()
    stars = np.concatenate([np.asarray(projection.collections[row].get_offsets()) for row in (2, 3)])
    np.testing.assert_allclose(points[[4, 0]], stars, atol=1e-3)


def test_profile_of_a_state_is_its_displacement(bending):
    system, _ = bending
    motions = collect_motions(system, system.truth_xyz)
    profile, _ = ensemble_picture(system, system.truth_xyz).axes
    bold = [line for line in profile.lines if line.get_linewidth() > 2]
    direction = leading_direction(motions.states)
    for line, displacement in zip(bold, motions.states, strict=True):
        np.testing.assert_allclose(line.get_ydata(), (displacement * direction).sum(-1), atol=1e-6)
    # Opposite bends lie on opposite sides, the first state above.
    assert bold[0].get_ydata().sum() > 1 > -1 > bold[1].get_ydata().sum()


def test_distance_in_the_plane_is_an_rmsd(bending):
    system, _ = bending
    motions = collect_motions(system, system.truth_xyz)
    _, projection = ensemble_picture(system, system.truth_xyz).axes
    one, other = (np.asarray(projection.collections[row].get_offsets())[0] for row in (2, 3))
    expected = np.sqrt(((motions.states[0] - motions.states[1]) ** 2).sum(-1).mean())
    assert np.linalg.norm(one - other) == pytest.approx(expected, rel=1e-6)


def test_unknown_residues_are_left_blank(bending):
    system, _ = bending
    mask = system.truth_mask.copy()
    mask[1, system.reference.residue_index == 4] = False
    gap = dataclasses.replace(system, truth_mask=mask)
    profile, _ = ensemble_picture(gap, system.truth_xyz).axes
    for line in profile.lines[:4]:
        assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [4]


def test_system_without_truth_still_has_a_picture(bending):
    system, bend = bending
    blind = dataclasses.replace(system, truth_mask=np.zeros_like(system.truth_mask))
    samples = system.reference.positions_xyz + np.linspace(-1, 1, 4)[:, None, None] * bend
    profile, projection = ensemble_picture(blind, samples).axes
    assert len(profile.lines) == 4 + 1
    assert legend_of(projection) == ["sample (colour: nearest state)", "reference"]


def test_principal_components_find_the_axes(rng):
    axes = np.linalg.qr(rng.normal(size=(30, 3)))[0].T
    weights = rng.normal(size=(200, 2))
    weights -= weights.mean(0)
    weights = weights @ np.linalg.inv(np.linalg.cholesky(weights.T @ weights)).T * [3.0, 1.0]
    mean, components, shares = principal_components((weights @ axes[:2] + 5 * axes[2]).reshape(200, 10, 3))
    np.testing.assert_allclose(np.abs(components @ axes.T), [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(shares, [0.9, 0.1], atol=1e-9)
    np.testing.assert_allclose(mean, 5 * axes[2], atol=1e-9)


def test_one_conformation_has_no_spread():
    _, components, shares = principal_components(np.ones((1, 4, 3)))
    assert not components.any()
    assert not shares.any()


@pytest.mark.parametrize("n_states", [1, 6, 7, 116])
def test_states_have_different_colours(n_states):
    assert len(set(state_colours(n_states))) == n_states


def test_file_is_an_image_and_the_same_twice(bending, tmp_path):
    system, bend = bending
    samples = system.reference.positions_xyz + np.linspace(-1, 1, 4)[:, None, None] * bend
    for name in ("one.png", "two.png"):
        save_ensemble_picture(tmp_path / "pictures" / name, system, samples)
    one, two = (tmp_path / "pictures" / name for name in ("one.png", "two.png"))
    assert one.read_bytes() == two.read_bytes()
    assert imread(one).shape[:2] == (624, 1560)
