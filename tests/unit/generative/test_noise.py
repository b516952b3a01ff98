"""Pairs of noise are opposite, and each is standard normal."""

import pytest
import torch

from cryofound.generative.noise import antithetic_noise


def test_pairs_are_opposite_and_a_seed_decides_them():
    for count in (1, 6, 7):
        noise = antithetic_noise((count, 5, 2), torch.Generator().manual_seed(0))
        assert noise.shape == (count, 5, 2)
        assert torch.equal(noise[1::2], -noise[: 2 * (count // 2) : 2])
        assert torch.equal(noise, antithetic_noise((count, 5, 2), torch.Generator().manual_seed(0)))
    assert noise[0::2].std(0).min() > 0


def test_each_sample_is_standard_normal():
    noise = antithetic_noise((20001, 4), torch.Generator().manual_seed(1)).double()
    assert noise.mean().item() == pytest.approx(0, abs=1e-3)
    torch.testing.assert_close(noise.T.cov(), torch.eye(4, dtype=torch.float64), rtol=0, atol=0.05)
    assert (noise**4).mean().item() == pytest.approx(3, rel=0.05)


def test_states_on_either_side_of_a_plane_get_half_of_the_samples_each():
    direction = torch.randn(7, generator=torch.Generator().manual_seed(2))
    for seed in range(10):
        noise = antithetic_noise((16, 7), torch.Generator().manual_seed(seed))
        assert ((noise @ direction) > 0).sum() == 8
