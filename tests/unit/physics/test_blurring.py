import pytest
import torch

from cryofound.maps.density_map import Grid
from cryofound.physics.blurring import blurred, sharpening
from cryofound.physics.density import render_gaussian

GRID = Grid.centred(32, 1.5)


def test_blurred_map_is_the_map_rendered_at_the_coarser_resolution() -> None:
    generator = torch.Generator().manual_seed(0)
    positions = 4.0 * torch.randn(2, 20, 3, generator=generator)
    amplitudes = torch.full((2, 20), 6.0)
    fine = torch.cat(
        [
            render_gaussian(positions[row : row + 1], amplitudes[:1], GRID, each, 1e-6)
            for row, each in ((0, 5.0), (1, 9.0))
        ]
    )
    coarse = render_gaussian(positions, amplitudes, GRID, 9.0, 1e-6)
    found = blurred(fine, (5.0, 9.0), (9.0, 9.0), 1.5)
    # the forward model draws an atom with the same height at every resolution
    height = torch.tensor([(9.0 / 5.0) ** 3, 1.0])[:, None, None, None]
    torch.testing.assert_close(height * found, coarse, atol=2e-3 * coarse.max().item(), rtol=0)


def test_maps_at_their_own_resolution_stay_as_they_are() -> None:
    density = torch.rand(1, 8, 8, 8)
    assert blurred(density, (4.0,), (4.0,), 2.0) is density


def test_a_map_is_not_sharpened() -> None:
    with pytest.raises(ValueError, match="cannot be brought"):
        blurred(torch.rand(1, 8, 8, 8), (6.0,), (4.0,), 2.0)


def test_sharpening_is_geometric_and_ends() -> None:
    assert [sharpening(16.0, 4.0, done) for done in (0.0, 0.5, 1.0, 7.0)] == pytest.approx([16.0, 8.0, 4.0, 4.0])
