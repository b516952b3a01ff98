"""The forward model against its definition, its dense oracle, and finite differences."""

import math

import pytest
import torch

from cryofound.maps.density_map import Grid
from cryofound.physics.density import CUTOFF, gaussian_sigma, render_gaussian, render_gaussian_dense

GRID = Grid((14, 16, 18), 1.5, (-11.0, -12.5, -9.0))


def atoms(count: int = 30, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(2, count, 3, generator=generator, dtype=dtype) * 4
    amplitudes = torch.randint(6, 17, (2, count), generator=generator).to(dtype)
    return positions, amplitudes


def test_one_atom_has_the_published_width_and_height():
    grid = Grid((9, 9, 9), 1.0, (-4.0, -4.0, -4.0))
    position = torch.zeros(1, 1, 3, dtype=torch.float64)
    density = render_gaussian(position, torch.full((1, 1), 8.0, dtype=torch.float64), grid, 6.0)[0]
    sigma = 6.0 / (math.sqrt(2) * math.pi)
    assert density[4, 4, 4].item() == pytest.approx(8.0)
    assert density[4, 5, 6].item() == pytest.approx(8.0 * math.exp(-5 / (2 * sigma**2)), rel=1e-12)


def test_axes_are_z_y_x():
    grid = Grid((4, 6, 8), 1.0, (0.0, 0.0, 0.0))
    density = render_gaussian(torch.tensor([[[5.0, 3.0, 1.0]]]), torch.ones(1, 1), grid, 2.0)
    assert divmod(int(density.argmax()), 48) == (1, 3 * 8 + 5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-3), (torch.float32, 1e-3)])
def test_truncation_is_bounded_by_the_tail_beyond_the_cut_off(dtype, tolerance):
    positions, amplitudes = atoms(dtype=dtype)
    ours = render_gaussian(positions, amplitudes, GRID, 6.0)
    oracle = render_gaussian_dense(positions, amplitudes, GRID, 6.0)
    # every atom leaves out at most its amplitude times the first weight beyond the window
    bound = amplitudes.sum(1).max() * math.exp(-0.5 * CUTOFF**2)
    assert (ours - oracle).abs().max() <= bound
    assert (ours - oracle).norm() / oracle.norm() < tolerance


def test_gradient_agrees_with_the_oracle_and_with_finite_differences():
    positions, amplitudes = atoms()
    positions.requires_grad_()
    weight = torch.randn(2, *GRID.shape_zyx, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = torch.autograd.grad((render_gaussian(positions, amplitudes, GRID, 6.0) * weight).sum(), positions)[0]
    oracle = torch.autograd.grad((render_gaussian_dense(positions, amplitudes, GRID, 6.0) * weight).sum(), positions)[0]
    assert (ours - oracle).norm() / oracle.norm() < 2e-3
    step, row = 1e-4, (1, 3, 2)
    shifted = []
    for sign in (1, -1):
        moved = positions.detach().clone()
        moved[row] += sign * step
        shifted.append((render_gaussian(moved, amplitudes, GRID, 6.0) * weight).sum())
    assert ours[row].item() == pytest.approx(((shifted[0] - shifted[1]) / (2 * step)).item(), rel=1e-3)


def test_padding_and_atoms_outside_add_nothing():
    positions, amplitudes = atoms(dtype=torch.float32)
    far = torch.cat([positions, torch.full((2, 1, 3), 1e4)], dim=1)
    padded = torch.cat([far, torch.zeros(2, 1, 3)], dim=1)
    more = torch.cat([amplitudes, torch.tensor([[8.0, 0.0]] * 2)], dim=1)
    assert torch.equal(render_gaussian(padded, more, GRID, 6.0), render_gaussian(positions, amplitudes, GRID, 6.0))


def test_threads_do_not_change_the_density():
    positions, amplitudes = atoms(dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(render_gaussian(positions, amplitudes, GRID, 6.0))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_sigma():
    assert gaussian_sigma(8.0) == pytest.approx(1.8006, abs=1e-4)
