"""The canonical frame: one motion in a family is one displacement field, wherever its files lie."""

import numpy as np
import pytest

from cryofound.errors import MapError, StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.canonical import check_inside, check_map_covers, family_frame, place_reference, place_state
from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel
from tests.made_proteins import made_protein, random_rotation


def elsewhere(model: AtomicModel, seed: int) -> AtomicModel:
    return model.moved(
        RigidTransform(random_rotation(seed), np.array([50.0, -20.0, 8.0]) * seed).apply(model.positions_xyz)
    )


def test_relatives_with_the_same_hinge_have_the_same_displacement_field() -> None:
    still, bent = made_protein(80), made_protein(80, hinge_degrees=40)
    frame = family_frame(elsewhere(still, 1), [elsewhere(bent, 2)])
    fields = []
    for seed in (3, 4):
        placement = place_reference(elsewhere(still, seed), frame)
        _, truth, mask = place_state(elsewhere(bent, seed + 10), placement)
        assert mask.all()
        fields.append(truth - placement.reference.positions_xyz)
    np.testing.assert_allclose(fields[0], fields[1], atol=1e-3)
    fixed = frame.core[still.residue_index]
    assert np.abs(fields[0][fixed]).max() < 1e-3
    assert np.linalg.norm(fields[0][~fixed], axis=1).min() > 1


def test_the_anchor_is_centred_and_finds_itself() -> None:
    anchor = elsewhere(made_protein(60), 5)
    frame = family_frame(anchor, [])
    np.testing.assert_allclose(frame.anchor.positions_xyz.mean(0), 0, atol=1e-4)
    assert frame.core.all()
    placement = place_reference(anchor, frame)
    np.testing.assert_allclose(placement.reference.positions_xyz, frame.anchor.positions_xyz, atol=1e-3)
    np.testing.assert_array_equal(placement.family_position, np.arange(60))
    np.testing.assert_allclose(placement.transform.apply(anchor.positions_xyz), frame.anchor.positions_xyz, atol=1e-3)


def test_without_states_both_sides_of_a_hinge_count_alike() -> None:
    """A relative bent at the hinge must not be laid on one side: the least-squares fit over all residues is wanted."""
    still, bent = made_protein(80), made_protein(80, hinge_degrees=30)
    placement = place_reference(elsewhere(bent, 3), family_frame(still, []))
    distance = np.linalg.norm(placement.reference.ca_xyz() - family_frame(still, []).anchor.ca_xyz(), axis=1)
    best = superpose(bent.ca_xyz(), family_frame(still, []).anchor.ca_xyz())
    wanted = np.linalg.norm(best.apply(bent.ca_xyz()) - family_frame(still, []).anchor.ca_xyz(), axis=1)
    np.testing.assert_allclose(distance, wanted, atol=1e-3)
    assert np.median(distance) > 1


def test_atoms_that_a_state_lacks_are_masked() -> None:
    still = made_protein(80)
    placement = place_reference(still, family_frame(still, []))
    keep = np.isin(still.atom_name, range(4))  # the state has no side chains
    backbone = AtomicModel(
        still.positions_xyz[keep], still.atom_name[keep], still.element[keep], still.residue_index[keep],
        still.residue_type, still.residue_number, still.chain_id,
    )  # fmt: skip
    _, truth, mask = place_state(elsewhere(backbone, 2), placement)
    np.testing.assert_array_equal(mask, keep)
    np.testing.assert_allclose(truth, placement.reference.positions_xyz, atol=1e-3)


def test_another_family_is_refused() -> None:
    with pytest.raises(StructureError, match="share 9 aligned residues, 10 are needed"):
        place_reference(made_protein(9), family_frame(made_protein(80), []))


def test_a_small_box_names_both_sizes_and_the_size_that_does() -> None:
    positions = np.array([[0.0, 0.0, 0.0], [0.0, -44.5, 0.0]])
    with pytest.raises(MapError) as raised:
        check_inside(positions, Grid.centred(48, 2.0), "state open")
    assert str(raised.value) == (
        "state open: box of 48 voxels of 2.0 A (96 A) is smaller than the protein, which needs 97 A; "
        "set grid.box_size to 56"
    )
    check_inside(positions, Grid.centred(56, 2.0), "state open")


def test_a_map_that_does_not_hold_the_protein_is_refused() -> None:
    density = DensityMap(np.zeros((10, 20, 30), dtype=np.float32), Grid((10, 20, 30), 1.0, (0.0, 0.0, 0.0)))
    inside = np.array([[0.0, 0.0, 0.0], [29.0, 19.0, 9.0]])
    check_map_covers(density, inside, "m.mrc")
    with pytest.raises(MapError, match=r"m\.mrc: box of 30 x 20 x 10 A .* of 29 x 19 x 11 A \(1\.5 A stick out\)"):
        check_map_covers(density, inside + [[0, 0, 0], [0, 0, 2]], "m.mrc")
