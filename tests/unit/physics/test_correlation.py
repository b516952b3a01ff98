"""NCC is Pearson's correlation."""

import numpy as np
import pytest
import torch

from cryofound.physics.correlation import ncc


def test_agrees_with_numpy_and_ignores_scale_and_shift():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, 5, 6, 7, generator=generator, dtype=torch.float64)
    wanted = [np.corrcoef(x.flatten().numpy(), y.flatten().numpy())[0, 1] for x, y in zip(a, b, strict=True)]
    assert ncc(a, b).numpy() == pytest.approx(wanted, abs=1e-12)
    assert ncc(3 * a - 2, 0.1 * b + 7).numpy() == pytest.approx(wanted, abs=1e-12)


def test_a_constant_map_correlates_zero():
    assert ncc(torch.ones(1, 3, 3, 3), torch.rand(1, 3, 3, 3)).item() == 0


def test_gradients_in_both_maps():
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 3, 4, 3, 2, generator=generator, dtype=torch.float64).requires_grad_().unbind(0)
    assert torch.autograd.gradcheck(ncc, (a, b))


def test_a_constant_map_has_no_gradient():
    constant = torch.ones(1, 3, 3, 3, requires_grad=True)
    ncc(constant, torch.rand(1, 3, 3, 3)).sum().backward()
    assert constant.grad is not None
    assert not constant.grad.any()
