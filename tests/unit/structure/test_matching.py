"""Chains matched as an exhaustive search over all assignments would match them."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from cryofound.maps.rigid_transform import RigidTransform
from cryofound.structure.alignment import align_sequences, rmsd_superposed, sequence_of
from cryofound.structure.atomic_model import ONE_LETTER, AtomicModel
from cryofound.structure.chains import chains_of, joined, residues_of
from cryofound.structure.matching import TIE, copies, match_chains, matched_residues, related, rows_in_copies
from cryofound.structure.reading import read_complex, read_model
from tests.made_complexes import elsewhere, made_ring, named, reordered
from tests.made_proteins import made_protein, random_rotation

aligned = cache(align_sequences)


def partners(first: AtomicModel, second: AtomicModel) -> dict[str, str]:
    return {match.first: match.second for match in match_chains(first, second)}


def rmsd(first: AtomicModel, second: AtomicModel, partner: dict[str, str]) -> float:
    """Over the aligned CA of chains that are partners, computed chain by chain and from nothing else."""
    ones, others = chains_of(first), chains_of(second)
    fixed, mobile = [], []
    for name, other in partner.items():
        pairs = aligned(sequence_of(ones[name]), sequence_of(others[other]))
        fixed.append(ones[name].ca_xyz()[pairs[:, 0]])
        mobile.append(others[other].ca_xyz()[pairs[:, 1]])
    return rmsd_superposed(np.concatenate(mobile), np.concatenate(fixed))


def lowest(first: AtomicModel, second: AtomicModel) -> float:
    """Of all assignments of equal numbers of chains."""
    names = list(chains_of(first))
    return min(rmsd(first, second, dict(zip(names, order, strict=True))) for order in permutations(chains_of(second)))


def test_a_symmetric_complex_keeps_its_names_whatever_the_order() -> None:
    """All four turns fit equally well: the one that keeps the names is taken."""
    ring = made_ring()
    for order in ("ABCD", "CADB", "DCBA"):
        assert partners(ring, elsewhere(reordered(ring, order), 3)) == dict(zip("ABCD", "ABCD", strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_all_permutations_is_found(seed: int) -> None:
    """Rings whose copies are displaced one by one, so that one turn of the four fits best."""
    rng = np.random.default_rng(seed)
    ring = made_ring(hinge_degrees=20)
    moved = [each.moved(each.positions_xyz + rng.normal(scale=4, size=3)) for each in chains_of(made_ring()).values()]
    order = rng.permutation(list("ABCD")).tolist()
    second = reordered(elsewhere(joined(moved), seed), order, {"A": "X", "B": "C", "C": "B"})
    found = partners(ring, second)
    assert len(set(found.values())) == 4
    assert rmsd(ring, second, found) == pytest.approx(lowest(ring, second), abs=TIE)


def test_many_copies_are_brought_back_in_order() -> None:
    """24 x 24 pairs are too many to begin with each of them."""
    protein = made_protein(24)
    names = [f"{letter}{number}" for letter in "abcd" for number in range(6)]
    rng = np.random.default_rng(0)
    places = [RigidTransform(random_rotation(row), 60 * rng.normal(size=3)) for row in range(len(names))]
    whole = joined(
        [
            named(protein.moved(each.apply(protein.positions_xyz)), name)
            for each, name in zip(places, names, strict=True)
        ]
    )
    shuffled = rng.permutation(names).tolist()
    called = {name: f"x{row}" for row, name in enumerate(shuffled)}
    assert partners(whole, elsewhere(reordered(whole, shuffled, called), 2)) == {name: called[name] for name in names}


def test_sequences_decide_before_places() -> None:
    """Two kinds of chain whose places are exchanged are matched by kind, and a stranger is left over."""
    one, other, stranger = made_protein(50, 1), made_protein(50, 2), made_protein(60, 3)
    far = 60.0 * np.eye(3)
    first = joined([named(one, "A"), named(other.moved(other.positions_xyz + far[0]), "B")])
    exchanged = joined(
        [
            named(stranger.moved(stranger.positions_xyz + far[1]), "A"),
            named(other, "C"),
            named(one.moved(one.positions_xyz + far[0]), "D"),
        ]
    )
    assert partners(first, exchanged) == {"A": "D", "B": "C"}
    assert match_chains(named(one, "A"), named(stranger, "A")) == ()


def test_one_chain_finds_its_copy_in_a_complex_and_a_part_its_place() -> None:
    ring = made_ring()
    assert partners(reordered(ring, "C"), elsewhere(ring, 2)) == {"C": "C"}
    neighbours = reordered(elsewhere(ring, 2), "CB", {"C": "P", "B": "Q"})
    found = partners(ring, neighbours)
    assert rmsd(ring, neighbours, found) < 1e-3
    # Neighbours stay neighbours, in the same sense of rotation.
    order = "ABCDA"
    assert f"{next(k for k, v in found.items() if v == 'Q')}{next(k for k, v in found.items() if v == 'P')}" in order


def test_copies_may_lack_residues_and_stand_for_each_other() -> None:
    chain = made_protein(60)
    torn = residues_of(chain, np.r_[5:30, 38:60])
    other = made_protein(60, seed=4)
    whole = joined([named(chain, "A"), named(other, "B"), named(torn, "C")])
    assert copies([sequence_of(each) for each in chains_of(whole).values()]) == [0, 1, 0]
    np.testing.assert_array_equal(rows_in_copies(whole), np.r_[0:120, 5:30, 38:60])
    np.testing.assert_array_equal(rows_in_copies(chain), np.arange(60))


def test_short_chains_are_related_to_themselves() -> None:
    peptide = sequence_of(made_protein(8))
    assert related(peptide, peptide)
    assert not related(peptide, sequence_of(made_protein(200, seed=9)))


def with_letters(model: AtomicModel, letters: dict[int, str]) -> AtomicModel:
    """The residues in some rows called something else; their atoms stay."""
    types = model.residue_type.copy()
    types[list(letters)] = [ONE_LETTER.index(letter) for letter in letters.values()]
    return replace(model, residue_type=types)


def other_letters(model: AtomicModel, rows: Iterable[int]) -> AtomicModel:
    return with_letters(model, {row: "W" if sequence_of(model)[row] != "W" else "A" for row in rows})


def test_the_same_protein_is_matched_but_for_tags_and_ends_at_gaps() -> None:
    """An insert of one and a tag of the other stand where an alignment cannot but pair them."""
    protein = made_protein(120, seed=5)
    tagged = other_letters(protein, [0, 1, 2, 116, 118, 119])
    pairs = matched_residues(protein, tagged)
    np.testing.assert_array_equal(pairs, np.stack([np.arange(3, 116)] * 2, axis=1))

    # Residues 60 to 65 are not seen in one, and those at the gap's edge are another's in the other.
    seen = residues_of(protein, np.r_[0:60, 66:120])
    linker = other_letters(residues_of(protein, np.r_[0:62, 68:120]), [58, 59, 60, 61, 62])
    found = matched_residues(seen, linker)
    numbers = np.stack([seen.residue_number[found[:, 0]], linker.residue_number[found[:, 1]]])
    np.testing.assert_array_equal(numbers[0], numbers[1])
    assert set(protein.residue_number[58:69].tolist()).isdisjoint(numbers[0])
    assert found.shape == (58 + 51, 2)


def test_mutations_inside_are_kept_and_a_short_run_between_gaps_is_not() -> None:
    protein = made_protein(120, seed=6)
    mutant = other_letters(protein, [30, 31, 70])
    np.testing.assert_array_equal(matched_residues(protein, mutant), np.stack([np.arange(120)] * 2, axis=1))
    # Three residues that hang in the air between two breaks of the chain may be any three.
    torn = residues_of(protein, np.r_[0:50, 54:57, 61:120])
    found = matched_residues(torn, protein)
    np.testing.assert_array_equal(torn.residue_number[found[:, 0]], protein.residue_number[found[:, 1]])
    np.testing.assert_array_equal(found[:, 1], np.r_[0:50, 61:120])


def test_relatives_keep_all_aligned_pairs() -> None:
    protein = made_protein(100, seed=7)
    relative = other_letters(protein, [0, 1, *range(9, 100, 8)])
    pairs = align_sequences(sequence_of(protein), sequence_of(relative))
    np.testing.assert_array_equal(matched_residues(protein, relative), pairs)
    assert len(pairs) > 95


@pytest.mark.shared
def test_receptors_of_two_laboratories_are_matched_by_their_numbers(shared_data: Path) -> None:
    """Author numbers, of which matching knows nothing, agree once tags and linkers are left out."""
    folder = shared_data / "families/gpcr_class_a"
    for inactive, active, residues in (
        ("5uen", "6d9h", (4, 316)),
        ("2rh1", "3sn6", (30, 342)),
        ("5a8e", "6h7n", (36, 358)),
    ):
        first, second = (read_model(folder / f"{each}.pdb.gz", residues=residues) for each in (inactive, active))
        pairs = matched_residues(first, second)
        np.testing.assert_array_equal(first.residue_number[pairs[:, 0]], second.residue_number[pairs[:, 1]])
        assert len(pairs) > 270


@pytest.mark.shared
def test_haemoglobin_of_another_program(shared_data: Path) -> None:
    """ModelAngelo built 5NI1 in another frame, in another order and under other names."""
    folder = shared_data / "maps/emd3488_5ni1"
    deposited = read_complex(folder / "5ni1_updated.cif.gz")
    built = read_complex(folder / "modelangelo_5ni1.cif.gz")
    found = partners(deposited, built)
    assert found == {"A": "Aa", "B": "Ba", "C": "Ab", "D": "Bb"}
    assert rmsd(deposited, built, found) == pytest.approx(0.345, abs=0.01)
    assert rmsd(deposited, built, found) <= lowest(deposited, built) + TIE


@pytest.mark.shared
def test_trp_channels_turn_the_same_way(shared_data: Path) -> None:
    """TRPV1 and TRPV5 name their subunits in opposite senses of rotation."""
    folder = shared_data / "families/trp_channel"
    trpv1, trpv5 = read_complex(folder / "7l2i.cif.gz"), read_complex(folder / "6o1p_trpv5.pdb.gz")
    found = partners(trpv1, trpv5)
    assert found == {"A": "A", "C": "C", "D": "B", "B": "D"}
    assert rmsd(trpv1, trpv5, found) == pytest.approx(4.63, abs=0.01)
    assert rmsd(trpv1, trpv5, found) <= lowest(trpv1, trpv5) + TIE
    assert rmsd(trpv1, trpv5, {name: name for name in "ABCD"}) > 20
    pairs, again = matched_residues(trpv1, trpv5), matched_residues(trpv1, reordered(trpv5, "DBAC"))
    np.testing.assert_array_equal(trpv5.ca_xyz()[pairs[:, 1]], reordered(trpv5, "DBAC").ca_xyz()[again[:, 1]])
