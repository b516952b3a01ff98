"""Rigid domains: made error matrices come apart as they were made, calmodulin into its two lobes."""

from pathlib import Path

import numpy as np
import pytest

from cryofound.reference.alphafold import read_structure_file
from cryofound.reference.domains import domain_ranges, rigid_domains


def blocks(*sizes: int, inside: float = 2.0, outside: float = 20.0, seed: int = 0) -> np.ndarray:
    """Predicted errors of rigid blocks, with noise that is not symmetric."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    mean = np.where(owner[:, None] == owner, inside, outside)
    return (mean * np.random.default_rng(seed).uniform(0.5, 1.5, mean.shape)).astype(np.float32)


def test_blocks_are_domains_and_short_ones_are_not() -> None:
    expected = np.repeat([0, -1, 1], [40, 12, 60])
    np.testing.assert_array_equal(rigid_domains(blocks(40, 12, 60)), expected)


def test_a_domain_may_be_in_pieces() -> None:
    order = np.r_[0:30, 60:90, 30:60]  # the second block lies between two halves of the first
    errors = blocks(60, 30)[np.ix_(order, order)]
    np.testing.assert_array_equal(rigid_domains(errors), np.repeat([0, 1, 0], 30))


def test_order_of_residues_does_not_matter() -> None:
    errors = blocks(40, 30, 50)
    order = np.random.default_rng(1).permutation(len(errors))
    shuffled = rigid_domains(errors[np.ix_(order, order)])
    together = shuffled[:, None] == shuffled
    straight = rigid_domains(errors)[order]
    np.testing.assert_array_equal(together, straight[:, None] == straight)


def test_one_rigid_body_and_no_rigid_part() -> None:
    np.testing.assert_array_equal(rigid_domains(blocks(50)), np.zeros(50))
    np.testing.assert_array_equal(rigid_domains(np.full((50, 50), 25.0)), np.full(50, -1))
    np.testing.assert_array_equal(rigid_domains(np.zeros((1, 1))), [-1])


def test_cutoff_is_the_mean_error_between_two_parts() -> None:
    errors = np.full((60, 60), 7.0)
    errors[:30, :30] = errors[30:, 30:] = 1.0
    assert rigid_domains(errors, cutoff=6.9).max() == 1
    assert rigid_domains(errors, cutoff=7.1).max() == 0


def test_ranges_break_at_gaps_and_chains() -> None:
    domain = np.array([0, 0, -1, 0, 0, 1])
    told = domain_ranges(domain, np.array(list("AAAABB")), np.array([5, 6, 7, 8, 1, 2]))
    assert told == ["A 5-6, A 8-8, B 1-1", "B 2-2"]


@pytest.mark.shared
def test_calmodulin_has_two_lobes(shared_data: Path) -> None:
    prediction = read_structure_file(shared_data / "calmodulin/predicted/AF-P0DP23-F1-model_v6.cif")
    domains = prediction.domains()
    assert domains is not None
    assert domains.max() == 1
    # EF hands 1 and 2, and 3 and 4, of UniProt P0DP23; what joins them is the hinge
    assert (domains[[each - 1 for each in (21, 32, 57, 68)]] == 0).all()
    assert (domains[[each - 1 for each in (94, 105, 130, 141)]] == 1).all()
    assert (domains[77:82] == -1).all()
    np.testing.assert_array_equal(domains, prediction.domains())
