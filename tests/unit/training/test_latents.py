"""What one system's code says to another's reference."""

import numpy as np
import pytest
import torch

from cryofound.training.latents import LatentSet, Lending
from cryofound.training.shelves import Shelves, make_shelves
from tests.made_proteins import made_protein
from tests.unit.training.test_shelves import RECIPE, system_of


@pytest.fixture(scope="module")
def shelves() -> Shelves:
    """Two like systems of one box, and one of another."""
    model = made_protein(20, seed=0)
    longer = made_protein(30, seed=1)
    return make_shelves(RECIPE, [system_of("a", model, 32), system_of("b", model, 48), system_of("c", longer, 48)])


@pytest.fixture
def lending(shelves: Shelves) -> Lending:
    """Each system has one code, its reference's own with a motion of its number added everywhere."""
    count = shelves.sizes()[:, 2]
    home = torch.randn(3, int(count.max()), 4, generator=torch.Generator().manual_seed(0))
    home = home * (torch.arange(home.shape[1]) < count[:, None])[..., None]
    latents = LatentSet(home + torch.tensor([1.0, 2.0, 3.0])[:, None, None], torch.arange(3), torch.ones(3))
    return Lending(shelves, latents, home)


def lent(lending: Lending, point: int, system: int, weight: float = 1.0) -> torch.Tensor:
    return lending.lent(np.array([point]), np.array([weight]), system)


def test_a_code_lent_to_its_own_reference_is_itself(shelves: Shelves, lending: Lending) -> None:
    for system in range(3):
        tokens = int(shelves.sizes()[system, 2])
        torch.testing.assert_close(lent(lending, system, system)[:tokens], lending.home[system, :tokens] + system + 1)


def test_the_motion_goes_over_and_what_is_the_lenders_own_does_not(shelves: Shelves, lending: Lending) -> None:
    tokens = int(shelves.sizes()[2, 2])
    torch.testing.assert_close(lent(lending, 0, 2)[:tokens], lending.home[2, :tokens] + 1.0)
    assert not lent(lending, 0, 2)[tokens:].any()


def test_a_motion_times_nothing_leaves_the_reference_at_home(lending: Lending) -> None:
    torch.testing.assert_close(lent(lending, 2, 1, weight=0.0), lending.home[1])


def test_the_box_of_the_lender_does_not_matter(lending: Lending) -> None:
    """Systems a and b are one molecule in boxes of 32 and 48 voxels."""
    lending.motion[:2] = torch.randn(1, *lending.motion.shape[1:], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(lent(lending, 0, 2), lent(lending, 1, 2))


def test_likeness_is_a_cosine(lending: Lending) -> None:
    opposite = replace_motion(lending, 1, -2.0)
    found = opposite.likeness(0, np.array([0, 1, 2]), 2)
    np.testing.assert_allclose(found, [1.0, -1.0, 1.0], atol=1e-5)


def replace_motion(lending: Lending, point: int, value: float) -> Lending:
    lending.motion[point] = torch.where(lending.motion[point] != 0, value, 0.0)
    return lending
