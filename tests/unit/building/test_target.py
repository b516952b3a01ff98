"""Maps as what a model is fitted to."""

import numpy as np
import pytest
import torch

from cryofound.building.target import Target, held_back_blocks, make_target
from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.physics.density import render_gaussian
from tests.made_proteins import made_protein

GRID = Grid.centred(48, 1.5)


def drawn(resolution: float = 4.5) -> tuple[torch.Tensor, torch.Tensor, Target]:
    model = made_protein(30)
    positions = torch.from_numpy(model.positions_xyz - model.positions_xyz.mean(0))
    amplitude = torch.full((model.n_atoms,), 6.0)
    density = render_gaussian(positions[None], amplitude[None], GRID, resolution)[0]
    return positions, amplitude, make_target(DensityMap(density.numpy(), GRID), resolution)


def test_the_true_model_fits_without_misfit_also_at_a_coarser_resolution():
    positions, amplitude, target = drawn()
    assert target.misfit(positions, amplitude).item() < 1e-5
    assert target.coarser(12.0).misfit(positions, amplitude).item() < 1e-3
    assert target.misfit(positions + 3.0, amplitude).item() > 0.3


def test_density_that_does_not_count_neither_attracts_nor_leaks_into_what_is_blurred():
    positions, amplitude, target = drawn()
    within = target.within(positions.numpy(), 6.0)
    far = ~within.counts
    spoilt = Target(torch.where(far, 1e3, within.density), within.resolution, within.grid, within.counts)
    for one, other in ((within, spoilt), (within.coarser(10.0), spoilt.coarser(10.0))):
        assert other.misfit(positions, amplitude).item() == pytest.approx(
            one.misfit(positions, amplitude).item(), abs=1e-5
        )


def test_blocks_held_back_have_their_share_and_edge_and_come_again():
    blocks = held_back_blocks(GRID, 6.0, 0.1, seed=1)
    assert blocks.shape == GRID.shape_zyx
    assert 0.07 < blocks.mean() < 0.13
    cubes = blocks.reshape(12, 4, 12, 4, 12, 4).mean(axis=(1, 3, 5))
    assert set(np.unique(cubes)) == {0.0, 1.0}
    assert np.array_equal(blocks, held_back_blocks(GRID, 6.0, 0.1, seed=1))
    assert not np.array_equal(blocks, held_back_blocks(GRID, 6.0, 0.1, seed=2))


def test_a_finely_sampled_map_is_brought_to_three_voxels_a_resolution_with_its_mask():
    values = np.random.default_rng(0).standard_normal((48, 48, 48)).astype(np.float32)
    mask = np.zeros(values.shape, dtype=np.float32)
    mask[12:36, 12:36, 12:36] = 1.0
    target = make_target(DensityMap(values, Grid.centred(48, 1.0)), 6.0, mask)
    assert target.grid.voxel_size == pytest.approx(2.0, rel=0.05)
    assert target.counts.float().mean().item() == pytest.approx(1 / 8, rel=0.15)


@pytest.mark.parametrize(
    ("resolution", "values", "mask", "told"),
    [
        (0.0, 1.0, None, "give a positive number"),
        (2.0, 1.0, None, "finer than two voxels of 1.5 A"),
        (5.0, 0.0, None, "the map is flat"),
        (5.0, 1.0, np.ones((4, 4, 4)), "give a mask on the map's grid"),
        (5.0, 1.0, np.zeros((8, 8, 8)), "the mask is empty"),
    ],
)
def test_what_cannot_be_fitted_to_is_said_in_one_line(resolution, values, mask, told):
    noise = values * np.random.default_rng(0).standard_normal((8, 8, 8)).astype(np.float32)
    with pytest.raises(MapError, match=told):
        make_target(DensityMap(noise, Grid.centred(8, 1.5)), resolution, mask)
