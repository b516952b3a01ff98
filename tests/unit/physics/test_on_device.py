"""Tables move as a whole: every tensor, however deep, and nothing else."""

from dataclasses import dataclass

import torch

from cryofound.physics.on_device import OnDevice


@dataclass(frozen=True)
class Inner(OnDevice):
    values: torch.Tensor


@dataclass(frozen=True)
class Outer(OnDevice):
    inner: Inner
    index: torch.Tensor
    count: int


def test_tensors_move_at_every_depth_and_plain_values_stay():
    table = Outer(Inner(torch.ones(2)), torch.arange(3), 7)
    moved = table.to("meta")
    assert moved.inner.values.is_meta
    assert moved.index.is_meta
    assert moved.count == 7
    assert not table.index.is_meta
    assert table.to("cpu").index is table.index
