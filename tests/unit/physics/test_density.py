"""The forward model against its definition, its dense oracle, and finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cryofound.errors import MapError
from cryofound.maps.density_map import Grid
from cryofound.physics.density import (
    GAUSSIAN_CUTOFF,
    _Splat,
    cutoff_radius,
    render,
    render_dense,
    render_electron,
    render_gaussian,
)
from cryofound.physics.form_factors import (
    electron_coefficients,
    electron_form,
    gaussian_form,
    gaussian_sigma,
    resolution_blur,
)
from cryofound.physics.windows import WindowSplat

GRID = Grid((14, 16, 18), 1.5, (-11.0, -12.5, -9.0))
NARROW = Grid((14, 16, 5), 1.5, (-11.0, -12.5, -3.0))  # rows shorter than a vector
PATHS = pytest.mark.parametrize("path", [_Splat, WindowSplat])
FORMS = pytest.mark.parametrize("form", ["gaussian", "electron"])


def atoms(count: int = 30, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(2, count, 3, generator=generator, dtype=dtype) * 4
    amplitudes = torch.randint(6, 17, (2, count), generator=generator).to(dtype)
    return positions, amplitudes


def shapes(form: str, count: int = 30, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    _, numbers = atoms(count, dtype)
    if form == "gaussian":
        return gaussian_form(numbers, 6.0)
    b_factor = torch.linspace(5, 150, count, dtype=dtype).expand(2, count)
    return electron_form(numbers.long(), b_factor, torch.linspace(0.2, 1, count, dtype=dtype).expand(2, count), 30.0)


def apply(path: type, positions: Tensor, heights: Tensor, decays: Tensor, grid: Grid, cutoff: float) -> Tensor:
    return path.apply(positions, heights, decays, cutoff_radius(heights.detach(), decays.detach(), cutoff), grid)


def test_one_atom_has_the_published_width_and_height():
    grid = Grid((9, 9, 9), 1.0, (-4.0, -4.0, -4.0))
    position = torch.zeros(1, 1, 3, dtype=torch.float64)
    density = render_gaussian(position, torch.full((1, 1), 8.0, dtype=torch.float64), grid, 6.0)[0]
    sigma = 6.0 / (math.sqrt(2) * math.pi)
    assert density[4, 4, 4].item() == pytest.approx(8.0)
    assert density[4, 5, 6].item() == pytest.approx(8.0 * math.exp(-5 / (2 * sigma**2)), rel=1e-12)


def test_the_electron_form_of_a_blurred_atom_holds_its_whole_scattering():
    # the integral over space is the scattering factor at zero angle, the sum of a
    grid = Grid((64, 64, 64), 0.5, (-16.0, -16.0, -16.0))
    position, one = torch.tensor([[[0.1, -0.2, 0.3]]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    density = render_electron(position, torch.tensor([[8]]), 20 * one, 0.5 * one, grid, resolution_blur(2.0), 1e-9)
    total = density.sum().item() * 0.5**3
    assert total == pytest.approx(0.5 * electron_coefficients()[8, 0].sum().item(), rel=1e-4)


def test_a_resolution_blurs_a_point_to_the_gaussian_form():
    resolution = 4.0
    _, decay = electron_form(torch.tensor([[6]]), torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1), 0.0)
    spread = 4 * math.pi**2 / decay + resolution_blur(resolution)
    widths = (spread / (8 * math.pi**2)).sqrt()
    own = (1 / (2 * decay)).sqrt()
    torch.testing.assert_close(widths, (own**2 + gaussian_sigma(resolution) ** 2).sqrt())


def test_axes_are_z_y_x():
    grid = Grid((4, 6, 8), 1.0, (0.0, 0.0, 0.0))
    density = render_gaussian(torch.tensor([[[5.0, 3.0, 1.0]]]), torch.ones(1, 1), grid, 2.0)
    assert divmod(int(density.argmax()), 48) == (1, 3 * 8 + 5)


@FORMS
@PATHS
@pytest.mark.parametrize("grid", [GRID, NARROW])
@pytest.mark.parametrize("cutoff", [1e-2, 1e-4])
def test_no_voxel_lacks_more_than_the_cut_off_of_each_atom(form, path, grid, cutoff):
    positions, _ = atoms()
    heights, decays = shapes(form)
    ours = apply(path, positions, heights, decays, grid, cutoff)
    oracle = render_dense(positions, heights, decays, grid)
    lacking = oracle - ours
    assert lacking.min() > -1e-12
    assert lacking.max() <= positions.shape[1] * cutoff
    # the bound is not idle: something is left out
    assert lacking.max() > 0.5 * cutoff


@FORMS
def test_a_loose_cut_off_leaves_an_atom_out_and_a_tight_one_none(form):
    heights, decays = shapes(form)
    assert (cutoff_radius(heights, decays, 1e9) == 0).all()
    radii = cutoff_radius(heights, decays, 1e-6)
    there = (heights * torch.exp(-decays * radii.square()[..., None])).sum(-1)
    torch.testing.assert_close(there, torch.full_like(there, 1e-6), rtol=1e-4, atol=0)


@FORMS
@PATHS
@pytest.mark.parametrize("grid", [GRID, NARROW])
def test_both_paths_agree_with_the_oracle_in_value_and_in_every_gradient(form, path, grid):
    positions, _ = atoms()
    inputs = [each.clone().requires_grad_() for each in (positions, *shapes(form))]
    weight = torch.randn(2, *grid.shape_zyx, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = apply(path, *inputs, grid, 1e-14)
    oracle = render_dense(*inputs, grid)
    torch.testing.assert_close(ours, oracle, rtol=1e-9, atol=1e-11)
    gradients = [torch.autograd.grad((each * weight).sum(), inputs) for each in (ours, oracle)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("path", [_Splat, WindowSplat])
def test_gradients_in_positions_b_factor_and_occupancy_pass_gradcheck(path):
    generator = torch.Generator().manual_seed(3)
    grid = Grid((5, 4, 9), 1.2, (-2.0, -2.0, -4.0))
    positions = torch.randn(1, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    b_factor = torch.tensor([[20.0, 35.0, 60.0]], dtype=torch.float64, requires_grad=True)
    occupancy = torch.tensor([[1.0, 0.5, 0.8]], dtype=torch.float64, requires_grad=True)

    def density(*inputs: Tensor) -> Tensor:
        return apply(path, inputs[0], *electron_form(torch.tensor([[6, 8, 16]]), *inputs[1:]), grid, 1e-30)

    assert torch.autograd.gradcheck(density, (positions, b_factor, occupancy), eps=1e-5, atol=1e-7)


@FORMS
def test_single_precision_follows_double(form):
    positions, _ = atoms()
    inputs = (positions, *shapes(form))
    double = render(*inputs, GRID, GAUSSIAN_CUTOFF)
    single = render(*(each.float() for each in inputs), GRID, GAUSSIAN_CUTOFF)
    assert single.dtype == torch.float32
    assert (single - double).norm() / double.norm() < 2e-6


def test_padding_and_atoms_outside_add_nothing():
    positions, amplitudes = atoms(dtype=torch.float32)
    far = torch.cat([positions, torch.full((2, 1, 3), 1e4)], dim=1)
    padded = torch.cat([far, torch.zeros(2, 1, 3)], dim=1)
    more = torch.cat([amplitudes, torch.tensor([[8.0, 0.0]] * 2)], dim=1)
    assert torch.equal(render_gaussian(padded, more, GRID, 6.0), render_gaussian(positions, amplitudes, GRID, 6.0))


def test_a_system_is_rendered_alike_alone_and_beside_a_larger_one():
    positions, amplitudes = atoms(dtype=torch.float32)
    padded = torch.where(torch.arange(30)[:, None] < 20, positions[0], torch.zeros(3))
    fewer = torch.where(torch.arange(30) < 20, amplitudes[0], torch.zeros(()))
    both = render_gaussian(torch.stack([padded, positions[1]]), torch.stack([fewer, amplitudes[1]]), GRID, 6.0)
    alone = render_gaussian(positions[:1, :20], amplitudes[:1, :20], GRID, 6.0)
    assert torch.equal(both[:1], alone)


@pytest.mark.parametrize("batch", [1, 2])
def test_threads_do_not_change_density_or_gradient(batch):
    positions, _ = atoms(dtype=torch.float32)
    weight = torch.randn(batch, *GRID.shape_zyx, generator=torch.Generator().manual_seed(1))

    def both() -> tuple[Tensor, ...]:
        inputs = [
            each[:batch].clone().requires_grad_() for each in (positions, *shapes("electron", dtype=torch.float32))
        ]
        density = render(*inputs, GRID, 1e-5)
        return density, *torch.autograd.grad((density * weight).sum(), inputs)

    one, several = with_threads(1, both), with_threads(3, both)
    assert all(torch.equal(a, b) for a, b in zip(one, several, strict=True))


def with_threads(count: int, function: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        return function()
    finally:
        torch.set_num_threads(threads)


def test_an_atom_wider_than_the_kernels_reach_is_rendered_all_the_same():
    grid = Grid((6, 6, 400), 0.1, (-0.3, -0.3, -20.0))
    position, number = torch.zeros(1, 1, 3, dtype=torch.float64), torch.full((1, 1), 6.0, dtype=torch.float64)
    heights, decays = gaussian_form(number, 20.0)
    ours = render(position, heights, decays, grid, 1e-6)
    torch.testing.assert_close(ours, render_dense(position, heights, decays, grid), rtol=0, atol=1e-6)


def test_no_atoms_give_an_empty_density():
    assert not render_gaussian(torch.zeros(1, 0, 3), torch.zeros(1, 0), GRID, 6.0).any()


def test_voxels_that_are_not_cubes_are_refused():
    grid = Grid((4, 4, 4), (1.0, 1.0, 1.3), (0.0, 0.0, 0.0))  # type: ignore[arg-type]  # what a user may pass
    with pytest.raises(MapError, match="resample"):
        render_gaussian(torch.zeros(1, 1, 3), torch.ones(1, 1), grid, 6.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@FORMS
def test_cuda_gives_the_density_and_gradients_of_the_cpu(form):
    positions, _ = atoms()
    results = []
    for device in ("cpu", "cuda"):
        inputs = [each.to(device).requires_grad_() for each in (positions.clone(), *shapes(form))]
        density = render(*inputs, GRID, 1e-12)
        gradients = torch.autograd.grad(density.square().sum(), inputs)
        results.append([each.cpu() for each in (density, *gradients)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
