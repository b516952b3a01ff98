from dataclasses import replace

import numpy as np
import pytest

from cryofound.ensemble.system import System
from cryofound.evaluation.baselines import (
    NORMAL_MODE_RMSD,
    best_amplitude,
    nearest_relative_ensemble,
    normal_modes_ensemble,
    relatives_field_ensemble,
    relatives_of,
    static_ensemble,
)
from cryofound.evaluation.superposition import superposed_rmsd
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.normal_modes import mode_states
from tests.made_proteins import made_protein
from tests.unit.evaluation.conftest import build_system

CA = made_protein(60).backbone_index()[:, 1]


def build(reference: AtomicModel, truth_xyz: np.ndarray, system_id: str, split: str = "train") -> System:
    """A system whose states all train."""
    made = build_system(reference, truth_xyz, split=split)
    return replace(made, system_id=system_id, states=tuple(replace(each, split="train") for each in made.states))


def hinged(system_id: str, degrees: float, split: str = "train") -> System:
    """One sequence and one reference, with a state that many degrees about the hinge."""
    return build(made_protein(60), made_protein(60, hinge_degrees=degrees).positions_xyz[None], system_id, split)


def test_normal_modes_have_the_stated_size_and_move_residues_whole(peptide):
    helix = peptide(40, -57.0, -47.0)
    samples = normal_modes_ensemble(helix)
    assert samples.shape == (256, 160, 3)
    assert superposed_rmsd(samples, helix.positions_xyz[None]).mean() == pytest.approx(NORMAL_MODE_RMSD, rel=1e-3)
    # All atoms of a residue share one displacement: distances within a residue stay.
    for row in (0, 17, 39):
        atoms = np.flatnonzero(helix.residue_index == row)
        before = np.linalg.norm(helix.positions_xyz[atoms][:, None] - helix.positions_xyz[atoms], axis=-1)
        after = np.linalg.norm(samples[:, atoms][:, :, None] - samples[:, atoms][:, None], axis=-1)
        np.testing.assert_allclose(after, np.broadcast_to(before, after.shape), atol=1e-4)


def test_seed_decides(peptide):
    helix = peptide(40, -57.0, -47.0)
    np.testing.assert_array_equal(normal_modes_ensemble(helix, seed=1), normal_modes_ensemble(helix, seed=1))
    assert np.abs(normal_modes_ensemble(helix, seed=1) - normal_modes_ensemble(helix, seed=2)).max() > 1


def test_short_chain_gives_the_modes_it_has(peptide):
    helix = peptide(8, -57.0, -47.0)
    assert normal_modes_ensemble(helix, n=3, rmsd=0.5).shape == (3, 32, 3)


def test_static_is_the_reference(peptide):
    helix = peptide(8, -57.0, -47.0)
    np.testing.assert_array_equal(static_ensemble(helix)[0], helix.positions_xyz)


def test_a_motion_carried_over_onto_its_own_system_brings_every_ca_to_its_place():
    made = hinged("one", 40.0)
    relatives = relatives_of(replace(made, split="train"), [])
    ca = made.reference.backbone_index()[:, 1]
    for carried in (nearest_relative_ensemble, relatives_field_ensemble):
        (found,) = carried(made.reference, relatives)
        np.testing.assert_allclose(found[ca], made.truth_xyz[0, ca], atol=1e-4)


def test_relatives_are_the_training_systems_of_the_family_and_their_training_states_alone():
    held_out = hinged("held", 40.0, split="held_out")
    twin, mutant = hinged("twin", 20.0), hinged("mutant", 60.0)
    types = mutant.reference.residue_type.copy()
    types[::4] = (types[::4] + 1) % 20
    mutant = replace(mutant, reference=replace(mutant.reference, residue_type=types))
    stranger = replace(hinged("stranger", 20.0), family="others")
    resting = build(made_protein(60), made_protein(60).positions_xyz[None], system_id="resting")
    unseen = replace(twin, system_id="unseen", states=(replace(twin.states[0], split="validation"),))
    others = [held_out, mutant, stranger, resting, unseen, replace(twin, split="held_out", system_id="out"), twin]
    found = relatives_of(held_out, others)
    assert [each.system.system_id for each in found] == ["twin", "mutant"]
    assert found[0].identity == 1
    assert found[1].identity == pytest.approx(0.75, abs=0.02)
    # The nearest lends its own motion, the field is the mean of both.
    ways = [each.truth_xyz[0, CA] - each.reference.positions_xyz[CA] for each in (twin, mutant)]
    (nearest,), (mean,) = (
        carried(held_out.reference, found)[:, CA] - held_out.reference.positions_xyz[CA]
        for carried in (nearest_relative_ensemble, relatives_field_ensemble)
    )
    np.testing.assert_allclose(nearest, ways[0], atol=1e-4)
    np.testing.assert_allclose(mean, np.mean(ways, axis=0), atol=1e-4)
    # The truth of the one they are for has no say.
    blind = replace(held_out, truth_xyz=held_out.truth_xyz * np.nan)
    np.testing.assert_array_equal(relatives_of(blind, others)[1].fields, found[1].fields)


def test_residues_that_a_relative_lacks_go_with_their_neighbours():
    held_out = hinged("held", 40.0, split="held_out")
    twin = hinged("twin", 40.0)
    mask = twin.truth_mask.copy()
    mask[0, twin.reference.residue_index >= 55] = False
    (found,) = nearest_relative_ensemble(held_out.reference, relatives_of(held_out, [replace(twin, truth_mask=mask)]))
    way = found[CA] - held_out.reference.positions_xyz[CA]
    np.testing.assert_allclose(way[55:], np.broadcast_to(way[54], (5, 3)), atol=1e-5)
    assert np.ptp(way[45:55], axis=0).max() > 0.1


def test_without_relatives_nothing_moves():
    alone = hinged("alone", 40.0, split="held_out")
    assert relatives_of(alone, [alone]) == []
    for carried in (nearest_relative_ensemble, relatives_field_ensemble):
        np.testing.assert_array_equal(carried(alone.reference, []), static_ensemble(alone.reference))
    assert best_amplitude([], 16, 3) == NORMAL_MODE_RMSD


@pytest.mark.parametrize("amplitude", [1.0, 4.0])
def test_the_amplitude_is_that_of_motions_along_the_relatives_modes(amplitude):
    """A state that lies on the lowest mode is best reached with samples about as large as it is."""
    protein = made_protein(60)
    ends = mode_states(protein, 1, amplitude)
    relatives = relatives_of(build(protein, ends, system_id="moving"), [])
    assert 0.5 * amplitude <= best_amplitude(relatives, 16, 1) <= 1.5 * amplitude
