"""The cell list finds what a look at all pairs finds."""

import numpy as np
import pytest
import torch

from cryofound.physics.neighbours import SKIN, PairList, overlapping_pairs, pairs_by_cells

SEARCHES = [overlapping_pairs, pairs_by_cells]


def all_pairs(positions: np.ndarray, radius: np.ndarray, excluded: set[int], margin: float) -> set[tuple[int, ...]]:
    found = set()
    for row, xyz in enumerate(positions):
        distance = np.linalg.norm(xyz[:, None] - xyz[None], axis=-1)
        for first, second in zip(*np.nonzero(distance < radius[:, None] + radius - margin), strict=True):
            if first < second and first * len(xyz) + second not in excluded:
                found.add((row, int(first), int(second)))
    return found


def clouds(seed: int, sites: int = 150) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Three clouds: a dense one, one in two far pieces, and one that is flat and has sites in the same place."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-8, 8, (3, sites, 3))
    positions[1, sites // 2 :] += [0, 700, -90]
    positions[2, :, 1] = 4.0
    positions[2, :5] = positions[2, 5]
    radius = rng.choice([1.05, 1.7, -10.0], sites, p=[0.4, 0.5, 0.1])
    first, second = np.sort(rng.integers(0, sites, (2, 4000)), axis=0)
    return positions, radius, np.unique((first * sites + second)[first < second]).tolist()


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("seed", range(4))
def test_same_pairs_as_a_look_at_all_of_them(search, seed):
    positions, radius, excluded = clouds(seed)
    for left_out in ([], excluded):
        pairs = search(torch.from_numpy(positions), torch.from_numpy(radius), torch.tensor(left_out).long(), 0.2)
        found = list(zip(*pairs.tolist(), strict=True))
        assert len(found) == len(set(found))
        assert set(found) == all_pairs(positions, np.where(radius < 0, -np.inf, radius), set(left_out), 0.2)
        assert len(found) > 100


@pytest.mark.parametrize("search", SEARCHES)
def test_more_pairs_than_expected_are_all_found(search):
    # everything in one place: 780 pairs of 40 sites
    pairs = search(torch.zeros(2, 40, 3), torch.full((40,), 1.5), torch.empty(0).long(), 0.0)
    assert pairs.shape == (3, 2 * 780)


@pytest.mark.parametrize("search", SEARCHES)
def test_nothing_overlaps(search):
    positions = 10.0 * torch.arange(6.0)[None, :, None].expand(2, 6, 3)
    assert search(positions, torch.ones(6), torch.empty(0).long(), 0.0).shape == (3, 0)


@pytest.mark.parametrize(("sites", "radius"), [(0, 1.0), (1, 1.0), (6, -10.0), (6, 0.09)])
def test_nothing_that_could_overlap(sites, radius):
    found = overlapping_pairs(torch.zeros(2, sites, 3), torch.full((sites,), radius), torch.empty(0).long(), 0.2)
    assert found.shape == (3, 0)


def test_order_is_the_same_at_every_call_and_on_any_number_of_threads():
    positions, radius, _ = clouds(9)
    arguments = (torch.from_numpy(positions), torch.from_numpy(radius), torch.empty(0).long(), 0.1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = overlapping_pairs(*arguments)
        torch.set_num_threads(3)
        assert torch.equal(overlapping_pairs(*arguments), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("stride", [0.02, 0.3, 1.5])
def test_a_list_of_pairs_finds_the_same_as_spheres_move_and_models_are_left_out(stride):
    positions, radius, excluded = clouds(7)
    moving, models, nearby = torch.from_numpy(positions), [0, 1, 2], PairList()
    rest = (torch.from_numpy(radius), torch.tensor(excluded), 0.2)
    generator = torch.Generator().manual_seed(1)
    for step in range(12):
        if step == 7:
            models, nearby = [0, 2], nearby.of([True, False, True])
        pairs = nearby.overlapping(moving[models], *rest)
        wanted = overlapping_pairs(moving[models], *rest)
        assert set(zip(*pairs.tolist(), strict=True)) == set(zip(*wanted.tolist(), strict=True))
        assert pairs.shape == wanted.shape
        moving = moving + stride * SKIN * torch.randn(moving.shape, generator=generator).clamp(-1, 1)


@pytest.mark.parametrize("search", [overlapping_pairs, PairList().overlapping])
def test_positions_that_are_not_finite_are_refused(search):
    positions = torch.zeros(1, 3, 3)
    positions[0, 1, 2] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        search(positions, torch.ones(3), torch.empty(0).long(), 0.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_finds_the_same_pairs():
    positions, radius, excluded = clouds(5)
    arguments = (torch.from_numpy(positions), torch.from_numpy(radius), torch.tensor(excluded))
    here = overlapping_pairs(*arguments, 0.2)
    there = overlapping_pairs(*(each.cuda() for each in arguments), 0.2).cpu()
    assert set(zip(*here.tolist(), strict=True)) == set(zip(*there.tolist(), strict=True))
