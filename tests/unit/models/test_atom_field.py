"""Groups of residues move as rigid bodies."""

import pytest
import torch

from cryofound.models.atom_field import GroupMotion, rotated


@pytest.fixture
def motion() -> GroupMotion:
    """The groups of one level that turn and shift."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = GroupMotion(6).double()
        torch.nn.init.normal_(made.rigid.weight, std=3.0)
    return made


def test_residues_of_one_group_keep_their_distances_and_turn_with_it(motion: GroupMotion):
    generator = torch.Generator().manual_seed(1)
    xyz, hidden = (torch.randn(1, 20, width, generator=generator, dtype=torch.float64) for width in (3, 6))
    xyz = 10 * xyz
    share = torch.zeros(1, 20, 2, dtype=torch.float64)
    share[0, :12, 0], share[0, 12:, 1] = 1, 1
    shift, turn = motion(hidden, xyz, share)
    assert shift.norm(dim=-1).min() > 0.1
    for rows in (slice(0, 12), slice(12, 20)):
        before, after = xyz[0, rows], (xyz + shift)[0, rows]
        torch.testing.assert_close(torch.pdist(after), torch.pdist(before))
        arms = rotated(before - before.mean(0), turn[0, rows])
        torch.testing.assert_close(after - after.mean(0), arms)


def test_residues_without_a_group_stay(motion: GroupMotion):
    hidden, xyz = torch.randn(1, 4, 6, dtype=torch.float64), torch.randn(1, 4, 3, dtype=torch.float64)
    shift, turn = motion(hidden, xyz, torch.zeros(1, 4, 3, dtype=torch.float64))
    assert not shift.any()
    assert not turn.any()
