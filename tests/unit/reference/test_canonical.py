"""The canonical frame: one motion in a family is one displacement field, wherever its files lie."""

from pathlib import Path

import numpy as np
import pytest

from cryofound.errors import MapError, StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.reference.canonical import (
    CHAIN_GAP,
    check_inside,
    check_map_covers,
    family_frame,
    place_reference,
    place_state,
    position_in_family,
)
from cryofound.structure.alignment import rmsd_superposed, superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, joined
from cryofound.structure.reading import read_complex
from tests.made_complexes import elsewhere, made_ring, named, reordered
from tests.made_proteins import made_protein


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


def test_a_symmetric_motion_of_a_ring_is_a_symmetric_displacement() -> None:
    still, bent = made_ring(), made_ring(hinge_degrees=30)
    placement = place_reference(elsewhere(still, 2), family_frame(elsewhere(still, 1), [elsewhere(bent, 4)]))
    shuffled = reordered(elsewhere(bent, 3), "CBDA", {"A": "B", "B": "A"})
    moved, truth, mask = place_state(shuffled, placement)
    assert mask.all()
    assert list(chain_rows(moved)) == ["C", "A", "D", "B"]
    field = np.linalg.norm(truth - placement.reference.positions_xyz, axis=1).reshape(4, -1)
    np.testing.assert_allclose(field, np.tile(field[0], (4, 1)), atol=2e-3)
    assert field.max() > 5
    # One lobe of every copy is at rest.
    assert np.isclose((field < 2e-3).mean(), 0.5, atol=0.02)


def test_family_positions_of_chains() -> None:
    """Partners have the anchor's rows, copies left over those of the chain they are like, strangers numbers beyond."""
    stranger, other = made_protein(50, seed=7), made_protein(30, seed=8)
    anchor = joined([*map(ring_chain, "AB"), named(other.moved(other.positions_xyz + 90), "C")])
    np.testing.assert_array_equal(
        position_in_family(elsewhere(anchor, 2), anchor),
        np.r_[0:60, 60 + CHAIN_GAP : 120 + CHAIN_GAP, 120 + 2 * CHAIN_GAP : 150 + 2 * CHAIN_GAP],
    )
    beyond = 150 + 3 * CHAIN_GAP
    three = joined(
        [
            named(stranger.moved(stranger.positions_xyz - 90), "S"),
            *map(ring_chain, "BA"),
            named(ring_chain("A").moved(ring_chain("A").positions_xyz + 200), "X"),
        ]
    )  # fmt: skip
    second = np.arange(60) + 60 + CHAIN_GAP
    np.testing.assert_array_equal(
        position_in_family(elsewhere(three, 3), anchor),
        np.r_[beyond : beyond + 50, second, np.arange(60), np.arange(60)],
    )


def ring_chain(name: str) -> AtomicModel:
    return reordered(made_ring(2), name)


@pytest.mark.shared
def test_trpv5_in_the_frame_of_trpv1(shared_data: Path) -> None:
    folder = shared_data / "families/trp_channel"
    one, two, trpv5 = (read_complex(folder / name) for name in ("7l2i.cif.gz", "7l2j.cif.gz", "6o1p_trpv5.pdb.gz"))
    frame = family_frame(one, [two])
    assert {int(frame.core[rows].sum()) for rows in chain_rows(one).values()} == {327}
    placement = place_reference(one, frame)
    _, truth, mask = place_state(two, placement)
    assert mask.mean() > 0.99
    assert rmsd_superposed(truth[mask], placement.reference.positions_xyz[mask]) == pytest.approx(1.59, abs=0.01)
    # Chains correspond by where they lie: neither the order nor the names of the state's or the reference's matter.
    renamed = elsewhere(reordered(two, "DBAC", {"D": "w", "B": "B", "A": "x", "C": "y"}), 5)
    np.testing.assert_allclose(place_state(renamed, placement)[1], truth, atol=0.01)
    shuffled = place_reference(elsewhere(reordered(one, "CADB", {"C": "y"}), 2), frame)
    _, its_truth, its_mask = place_state(two, shuffled)
    before, after = placement.reference, shuffled.reference
    lengths = [
        np.sort(np.linalg.norm((places - model.positions_xyz)[known], axis=1))
        for places, model, known in ((truth, before, mask), (its_truth, after, its_mask))
    ]
    np.testing.assert_allclose(*lengths, atol=0.01)
    placement = place_reference(trpv5, frame)
    # The aligned residues of the core, by the rows that both have in the anchor; partners are A A, B D, C C, D B.
    begins = {name: rows[0] + CHAIN_GAP * row for row, (name, rows) in enumerate(chain_rows(one).items())}
    distances = []
    for name, partner in zip("ABCD", "ADCB", strict=True):
        rows = chain_rows(trpv5)[name]
        place = placement.family_position[rows] - begins[partner]
        aligned = rows[placement.core[rows]]
        assert np.isin(place[placement.core[rows]], np.arange(531)).all()
        anchors = chain_rows(one)[partner][place[placement.core[rows]].astype(int)]
        distances.append(np.linalg.norm(placement.reference.ca_xyz()[aligned] - frame.anchor.ca_xyz()[anchors], axis=1))
    together = np.concatenate(distances)
    assert np.sqrt((together**2).mean()) == pytest.approx(4.23, abs=0.02)
    assert np.median(together) == pytest.approx(1.57, abs=0.02)
    # The order of the file's chains changes the order and nothing else.
    again = place_reference(reordered(trpv5, "CADB"), frame)
    back = reordered(again.reference, "ABCD")
    np.testing.assert_allclose(back.positions_xyz, placement.reference.positions_xyz, atol=1e-3)
    rows = chain_rows(again.reference)
    order = np.concatenate([rows[name] for name in "ABCD"])
    np.testing.assert_array_equal(again.family_position[order], placement.family_position)
    np.testing.assert_array_equal(again.core[order], placement.core)


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
