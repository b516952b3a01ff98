"""Point groups of made complexes are found whatever their chains are called and wherever they lie."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.structure.atomic_model import ATOM_NAMES, AtomicModel
from cryofound.structure.chains import chain_rows, joined, residues_of
from cryofound.structure.symmetry import ChainCopies, Symmetry, find_symmetry, group_order
from tests.made_complexes import elsewhere, made_ring, named, reordered, turn_about_z
from tests.made_proteins import made_protein

FLIP = np.diag([1.0, -1.0, -1.0])
CORNER = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # a third of a turn about the cube's diagonal


def turned(generators: list[np.ndarray], residues: int = 24) -> AtomicModel:
    """One chain for each rotation of the group that the generators make, away from all axes."""
    group = [np.eye(3)]
    for one in group:
        for generator in generators:
            if all(np.abs(generator @ one - other).max() > 1e-6 for other in group):
                group.append(generator @ one)
    protein = made_protein(residues)
    names = ["".join(each) for each in itertools.product("ABCDEFGH", repeat=2)]
    return joined(
        [
            named(protein.moved((protein.positions_xyz + [60.0, 33.0, 20.0]) @ turn.T), name)
            for turn, name in zip(group, names, strict=False)
        ]
    )


COMPLEXES = {
    "C1": made_ring(1),
    "C2": made_ring(2),
    "C4": made_ring(4),
    "C7": made_ring(7),
    "D2": turned([turn_about_z(180), FLIP]),
    "D3": turned([turn_about_z(120), FLIP]),
    "T": turned([turn_about_z(180), CORNER]),
    "O": turned([turn_about_z(90), CORNER]),
}


def is_group(found: Symmetry) -> bool:
    """Whether products of operators are operators, as rotations, shifts and atoms alike."""
    for turn, move, atoms in zip(found.rotation, found.shift, found.atoms, strict=True):
        for other, other_move, other_atoms in zip(found.rotation, found.shift, found.atoms, strict=True):
            (row,) = np.flatnonzero(np.abs(found.rotation - turn @ other).max((1, 2)) < 1e-9)
            # a source of a source: first where `turn` fetches an atom, then where `other` has fetched that
            if np.abs(found.shift[row] - (turn @ other_move + move)).max() > 1e-6:
                return False
            if not np.array_equal(found.atoms[row], other_atoms[atoms]):
                return False
    return True


@pytest.mark.parametrize("point_group", COMPLEXES)
def test_operators_bring_the_complex_onto_itself(point_group: str) -> None:
    model = elsewhere(COMPLEXES[point_group], seed=3)
    found = find_symmetry(model, point_group)
    assert len(found.rotation) == group_order(point_group)
    np.testing.assert_array_equal(found.rotation[0], np.eye(3))
    np.testing.assert_array_equal(found.atoms[0], np.arange(model.n_atoms))
    assert found.rmsd < 1e-3
    for turn, move, atoms in zip(found.rotation, found.shift, found.atoms, strict=True):
        images = model.positions_xyz[atoms] @ turn.T + move
        np.testing.assert_allclose(images, model.positions_xyz, atol=0.01)
    assert is_group(found)


def test_a_part_of_the_symmetry_may_be_asked_for() -> None:
    ring = made_ring(4)
    assert len(find_symmetry(ring, "C2").rotation) == 2
    np.testing.assert_allclose(find_symmetry(ring, "C2").rotation[1], turn_about_z(180), atol=1e-6)
    assert len(find_symmetry(ring, "C1").rotation) == 1
    for other in ("D2", "C3", "C8", "T"):
        with pytest.raises(StructureError, match=f"chains A, B, C, D do not have the symmetry {other} within 2.0 A"):
            find_symmetry(ring, other)
    with pytest.raises(StructureError, match="symmetry C4"):
        find_symmetry(COMPLEXES["D2"], "C4")


def test_operators_of_a_worn_complex_are_a_group_nevertheless() -> None:
    model = made_ring(4)
    noise = np.random.default_rng(0).normal(0, 0.5, model.positions_xyz.shape)
    tilt = np.where((model.chain_id == "B")[model.residue_index, None], [0.0, 0.3, 1.0], 0.0)
    found = find_symmetry(elsewhere(model.moved(model.positions_xyz + noise + tilt), 2), "C4")
    assert 0.5 < found.rmsd < 1.5
    assert is_group(found)
    with pytest.raises(StructureError, match=r"C4 within 0\.5 A \(\d\.\d A RMSD for the best turn\)"):
        find_symmetry(model.moved(model.positions_xyz + noise), "C4", tolerance=0.5)


def test_order_and_names_of_chains_have_no_say() -> None:
    model = reordered(made_ring(4), "CADB", {"C": "x", "A": "y", "D": "z", "B": "w"})
    found = find_symmetry(model, "C4")
    assert found.rmsd < 1e-3
    assert is_group(found)


def test_what_a_copy_lacks_has_no_image_and_the_rest_does() -> None:
    model = made_ring(4)
    rows = chain_rows(model)
    kept = np.setdiff1d(np.arange(model.n_residues), rows["C"][5:9])
    found = find_symmetry(residues_of(model, kept), "C4")
    assert len(found.rotation) == 4
    whole = residues_of(model, kept)
    lost = np.isin(whole.residue_number, np.arange(6, 10))[whole.residue_index]
    assert ((found.atoms >= 0).sum(0) == np.where(lost, 3, 4)).all()
    for turn, move, atoms in zip(found.rotation, found.shift, found.atoms, strict=True):
        known = atoms >= 0
        images = whole.positions_xyz[atoms[known]] @ turn.T + move
        np.testing.assert_allclose(images, whole.positions_xyz[known], atol=0.01)


def test_atoms_are_brought_onto_atoms_of_their_name() -> None:
    model = made_ring(3)
    named_alike = replace(model, atom_name=np.where(model.atom_name == 4, ATOM_NAMES.index("OTHER"), model.atom_name))
    found = find_symmetry(named_alike, "C3")
    assert (found.atoms[1:, named_alike.atom_name == ATOM_NAMES.index("OTHER")] == -1).all()
    known = named_alike.atom_name != ATOM_NAMES.index("OTHER")
    for atoms in found.atoms:
        np.testing.assert_array_equal(named_alike.atom_name[atoms[known]], named_alike.atom_name[known])


def test_a_complex_of_two_proteins_turns_with_both() -> None:
    ring = made_ring(2)
    other = made_ring(2, residues=30, seed=5, names="XY")
    found = find_symmetry(joined([ring, other.moved(other.positions_xyz + [0.0, 0.0, 50.0])]), "C2")
    assert found.rmsd < 1e-3
    with pytest.raises(StructureError, match="no copies of its chains"):
        find_symmetry(joined([ring, residues_of(other, chain_rows(other)["X"])]), "C2")


def test_copies_of_a_ring_can_be_told_in_as_many_orders_as_it_has_turns() -> None:
    model = made_ring(4)
    orders = ChainCopies(model).orders()
    np.testing.assert_array_equal(orders[0], np.arange(model.n_atoms))
    chain = np.unique(model.chain_id, return_inverse=True)[1][model.residue_index]
    told = {tuple(chain[order].reshape(4, -1)[:, 0].tolist()) for order in orders}
    assert told == {(0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)}
    for order in orders:
        np.testing.assert_array_equal(model.atom_name[order], model.atom_name)


def test_the_nearest_order_undoes_other_names_and_a_motion() -> None:
    model = made_ring(3)
    moved = elsewhere(made_ring(3, hinge_degrees=10.0), 3)
    for names in itertools.permutations("ABC"):
        renamed = reordered(moved, names, dict(zip(names, "ABC", strict=True)))
        order = ChainCopies(model).nearest_order(renamed.ca_xyz().astype(float), model.ca_xyz().astype(float))
        again = renamed.moved(renamed.positions_xyz[order]).ca_xyz()
        # Which of the three copies is called A no distance tells, but the way round does.
        assert any(np.allclose(again, np.roll(moved.ca_xyz(), 60 * turns, axis=0), atol=1e-3) for turns in range(3))
    order = ChainCopies(model).nearest_order(moved.ca_xyz().astype(float), model.ca_xyz().astype(float))
    np.testing.assert_array_equal(order, np.arange(model.n_atoms))  # all turns fit alike, so nothing is renamed
