"""Chains are assigned to the sequences that they have."""

import pytest

from cryofound.catalog.stoichiometry import chain_groups, symmetry_doubts
from cryofound.errors import StructureError
from cryofound.structure.alignment import sequence_of
from tests.made_proteins import made_protein

FIRST, SECOND = made_protein(40, seed=1), made_protein(50, seed=2)
SEQUENCES = {"first": "MA" + sequence_of(FIRST), "second": sequence_of(SECOND)}


def test_copies_are_counted_whatever_their_order() -> None:
    groups = chain_groups({"A": FIRST, "X": SECOND, "C": FIRST}, SEQUENCES, "ref.cif")
    assert [(group.description, group.names, group.sequence) for group in groups] == [
        ("first", ("A", "C"), SEQUENCES["first"]), ("second", ("X",), SEQUENCES["second"]),
    ]  # fmt: skip


def test_without_sequences_equal_chains_are_copies() -> None:
    groups = chain_groups({"A": FIRST, "X": SECOND, "C": FIRST}, {}, "ref.cif")
    assert [(group.names, group.sequence) for group in groups] == [(("A", "C"), None), (("X",), None)]


def test_a_chain_goes_to_the_sequence_that_it_leaves_least_of() -> None:
    longer = {"long": SEQUENCES["first"] + 30 * "G", "short": SEQUENCES["first"], "second": SEQUENCES["second"]}
    with pytest.raises(StructureError, match="no chain has the sequence long"):
        chain_groups({"A": FIRST, "B": SECOND}, longer, "ref.cif")


@pytest.mark.parametrize(
    ("symmetry", "copies", "doubt"),
    [("C1", 1, False), ("C4", 4, False), ("C4", 8, False), ("C4", 2, True), ("D2", 4, False), ("D2", 2, True),
     ("I", 60, False), ("O", 12, True), ("T", 12, False)],
)  # fmt: skip
def test_copies_fit_the_point_group(symmetry: str, copies: int, doubt: bool) -> None:
    chains = {f"c{number}": FIRST for number in range(copies)}
    assert bool(symmetry_doubts(symmetry, chain_groups(chains, {}, "ref.cif"))) is doubt
