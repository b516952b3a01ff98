"""Superposition, cores and alignments against closed forms and against biotite."""

import biotite.structure as biotite_structure
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofound.errors import StructureError
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.structure.alignment import (
    align_sequences,
    family_positions,
    matched_atoms,
    rigid_core,
    rmsd_superposed,
    sequence_mismatch,
    sequence_of,
    superpose,
    superpose_core,
)
from cryofound.structure.matching import matched_residues
from tests.made_complexes import made_ring
from tests.made_proteins import made_protein, random_rotation


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), atoms=st.integers(4, 60))
def test_superpose_finds_the_motion_that_was_made(seed: int, atoms: int) -> None:
    rng = np.random.default_rng(seed)
    start = rng.normal(scale=10, size=(atoms, 3))
    motion = RigidTransform(random_rotation(seed), rng.normal(scale=30, size=3))
    found = superpose(start, motion.apply(start))
    np.testing.assert_allclose(found.rotation, motion.rotation, atol=1e-9)
    np.testing.assert_allclose(found.shift, motion.shift, atol=1e-7)


def test_superpose_agrees_with_biotite_also_for_mirror_images() -> None:
    rng = np.random.default_rng(1)
    start = rng.normal(scale=10, size=(50, 3))
    for target in (start + rng.normal(scale=2, size=start.shape), start * [1, 1, -1]):
        theirs, _ = biotite_structure.superimpose(target, start)
        np.testing.assert_allclose(superpose(start, target).apply(start), theirs, atol=1e-4)
        assert rmsd_superposed(start, target) == pytest.approx(biotite_structure.rmsd(target, theirs), abs=1e-4)


def test_the_core_of_a_hinge_is_the_larger_lobe() -> None:
    still, turned = (made_protein(90, hinge_degrees=angle).ca_xyz() for angle in (0, 50))
    # 45 residues a side; without the last 10 of the first lobe the second one is larger.
    rows = np.r_[0:35, 45:90]
    core = rigid_core(turned[None, rows], still[rows])
    assert not core[:35].any()
    assert core[35:].all()


def test_the_core_is_rigid_in_all_states_at_once() -> None:
    still = made_protein(90).ca_xyz()
    bent = np.stack([made_protein(90, hinge_degrees=angle).ca_xyz() for angle in (-30, 20, 40)])
    loose = bent + 0
    loose[2, :12] += 6.0  # in one state only the first lobe loses an end, so the second lobe is what stays
    np.testing.assert_array_equal(rigid_core(loose, still), np.arange(90) >= 45)


def test_the_core_of_a_ring_is_the_same_in_all_copies() -> None:
    """Two of four copies at rest are half of the whole; the core is the lobe that least moves in all of them."""
    still, bent = made_ring(), made_ring(hinge_degrees=25)
    bent = bent.ca_xyz() + np.random.default_rng(0).normal(scale=0.1, size=(240, 3))
    alike = np.tile(np.arange(60), 4)
    core = rigid_core(bent[None], still.ca_xyz(), alike).reshape(4, 60)
    np.testing.assert_array_equal(core, np.tile(np.arange(60) < 30, (4, 1)))
    axis = superpose(bent[core.ravel()], still.ca_xyz()[core.ravel()]).rotation[2]
    assert axis[2] > 0.9999


def test_superposition_by_the_core_leaves_a_loose_end_out() -> None:
    fixed = made_protein(60).ca_xyz().astype(float)
    motion = RigidTransform(random_rotation(3), np.array([5.0, -3.0, 8.0]))
    mobile = motion.inverse().apply(fixed)
    mobile[50:] += 25.0
    fit = superpose_core(mobile, fixed)
    np.testing.assert_array_equal(fit.core, np.arange(60) < 50)
    np.testing.assert_allclose(fit.transform.rotation, motion.rotation, atol=1e-9)


def test_alignment_skips_what_one_sequence_lacks() -> None:
    whole = sequence_of(made_protein(80))
    pairs = align_sequences(whole, whole[5:30] + whole[42:])
    np.testing.assert_array_equal(pairs[:, 0], np.r_[5:30, 42:80])
    np.testing.assert_array_equal(pairs[:, 1], np.arange(len(pairs)))


def test_too_short_an_alignment_is_refused() -> None:
    with pytest.raises(StructureError, match=r"share [0-9] aligned residues, 10 are needed"):
        matched_residues(made_protein(6), made_protein(80))


def test_atoms_are_matched_by_residue_and_name() -> None:
    first, second = made_protein(30), made_protein(30)
    keep = second.residue_index != 4
    shorter = type(second)(
        second.positions_xyz[keep], second.atom_name[keep], second.element[keep],
        np.where(second.residue_index > 4, second.residue_index - 1, second.residue_index)[keep],
        np.delete(second.residue_type, 4), np.delete(second.residue_number, 4), np.delete(second.chain_id, 4),
    )  # fmt: skip
    atoms = matched_atoms(first, shorter, matched_residues(first, shorter))
    np.testing.assert_array_equal(atoms[:, 0], np.flatnonzero(first.residue_index != 4))
    np.testing.assert_array_equal(first.positions_xyz[atoms[:, 0]], shorter.positions_xyz[atoms[:, 1]])


def test_family_positions_of_inserts_and_tails() -> None:
    pairs = np.array([[3, 2], [4, 3], [5, 7], [6, 8]])
    expected = [1, 2, 3, 4, 4.25, 4.5, 4.75, 5, 6, 7, 8]
    np.testing.assert_allclose(family_positions(pairs, 11), expected)


def test_a_sequence_with_unseen_residues_matches_and_a_mutation_is_named() -> None:
    model = made_protein(60)
    seen = sequence_of(model)
    assert sequence_mismatch("MGS" + seen[:20] + "AAAA" + seen[20:] + "LEH", model) is None
    other = "W" if seen[36] != "W" else "Y"
    wrong = sequence_mismatch(seen[:36] + other + seen[37:], model)
    assert wrong == f"position 37 is {other}, the structure's residue 37 is {seen[36]}"
    assert sequence_mismatch(seen[:10] + "*", model) == "letter '*' at position 11 is no amino acid"
    assert sequence_mismatch(seen[:30], model) is not None
