"""Noise that belongs to samples: the same for any split of a batch, and different in everything it depends on."""

import pytest
import torch

from cryofound.training.noise import Noise, seed_of


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_of_a_batch_draw_what_the_whole_draws(parts: int) -> None:
    whole = Noise(1, 2).normal("code", (7, 5, 3))
    times = Noise(1, 2).uniform("time", 7)
    for part in range(parts):
        noise = Noise(1, 2, range(7)[part::parts])
        count = len(range(7)[part::parts])
        assert torch.equal(noise.normal("code", (count, 5, 3)), whole[part::parts])
        assert torch.equal(noise.uniform("time", count), times[part::parts])


def test_padding_of_a_batch_changes_no_sample() -> None:
    assert torch.equal(Noise(0, 0).normal("code", (2, 9, 4))[:, :6], Noise(0, 0).normal("code", (2, 6, 4)))


def test_draws_differ_by_seed_step_place_and_name_and_have_their_distribution() -> None:
    draws = [Noise(seed, step).normal(name, (3, 8)) for seed in (0, 1) for step in (0, 1) for name in "ab"]
    assert len({tuple(row) for draw in draws for row in draw.tolist()}) == 24
    normal, uniform = Noise(0, 0).normal("a", (4, 40_000)), Noise(0, 0).uniform("b", 5000)
    assert normal.mean().item() == pytest.approx(0, abs=0.01)
    assert normal.std().item() == pytest.approx(1, abs=0.01)
    assert (uniform.min() >= 0) & (uniform.max() <= 1)
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_part_of_another_size_than_its_places_is_an_error() -> None:
    with pytest.raises(ValueError, match="'code' is asked for 3 samples, this part of the batch has 2"):
        Noise(0, 0, range(2)).normal("code", (3, 1))


def test_seeds_differ_in_every_part() -> None:
    assert len({seed_of(a, b, c) for a in range(10) for b in range(50) for c in range(4)}) == 2000
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3)
