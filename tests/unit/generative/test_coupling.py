"""The coupling against another solver of the assignment, and what it must keep."""

import torch
from scipy.optimize import linear_sum_assignment

from cryofound.generative.coupling import optimal_coupling


def points(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x_0, x_1 = torch.randn(2, count, 6, 3, generator=torch.Generator().manual_seed(seed))
    return x_0, x_1


def test_it_is_the_best_assignment_within_each_group():
    x_0, x_1 = points(40, 0)
    group = torch.tensor([3, 0, 3, 1, 3, 3, 0, 2] * 5)
    order = optimal_coupling(x_0, x_1, group)
    assert sorted(order.tolist()) == list(range(40))
    assert torch.equal(group[order], group)
    for each in range(4):
        rows = torch.nonzero(group == each).flatten()
        cost = (x_1[rows, None] - x_0[rows]).square().sum((-1, -2))
        best = linear_sum_assignment(cost.numpy())
        assert torch.equal(order[rows], rows[torch.from_numpy(best[1])])


def test_it_is_never_worse_than_the_pairs_as_they_come():
    for seed in range(20):
        x_0, x_1 = points(9, seed)
        order = optimal_coupling(x_0, x_1, torch.zeros(9, dtype=torch.long))
        assert (x_1 - x_0[order]).square().sum() <= (x_1 - x_0).square().sum()
        assert torch.equal(order, optimal_coupling(x_0, x_1, torch.zeros(9, dtype=torch.long)))


def test_it_undoes_a_permutation_of_the_same_points_and_gives_one_for_equal_points():
    x_0, _ = points(30, 1)
    shuffled = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    group = torch.zeros(30, dtype=torch.long)
    assert torch.equal(optimal_coupling(x_0, x_0[shuffled], group), shuffled)
    # every pairing is optimal: states of one series have the same code many times in a batch
    assert sorted(optimal_coupling(x_0, x_0[:1].expand(30, -1, -1), group).tolist()) == list(range(30))
