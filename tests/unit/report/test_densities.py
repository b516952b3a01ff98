"""Maps in a page: values, place, contour level and size."""

import numpy as np
import pytest

from cryofound.maps.density_map import DensityMap, Grid
from cryofound.report.densities import ENCLOSED, HYDROGENS, VOLUME_PER_DALTON, ZONE, page_densities

ATOMS = np.array([[x, 0.0, 0.0] for x in np.arange(-6.0, 6.5, 1.5)])
MASS = 14.0 * 40


def blob(voxel_size: float, box_size: int, *, noise: float = 0.0, seed: int = 0) -> DensityMap:
    """A Gaussian of 4 A about the origin."""
    grid = Grid.centred(box_size, voxel_size)
    axis = np.arange(box_size) * voxel_size + grid.origin_xyz[0]
    squares = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    values = np.exp(-squares / (2 * 4.0**2)) + noise * np.random.default_rng(seed).standard_normal(squares.shape)
    return DensityMap(values.astype(np.float32), grid)


def centres(grid: Grid) -> np.ndarray:
    z, y, x = (
        start + grid.voxel_size * np.arange(size)
        for start, size in zip(grid.origin_xyz[::-1], grid.shape_zyx, strict=True)
    )
    return np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)


def test_values_are_those_of_the_map_in_its_own_deviations_where_the_model_is():
    density = blob(1.0, 48)
    (found,) = page_densities([density], [ATOMS], [4.0], MASS, 10**6)
    assert found is not None
    assert found.grid.voxel_size == 1.0
    place = centres(found.grid)
    truth = np.exp(-(place**2).sum(-1) / (2 * 4.0**2))
    expected = (truth - density.values_zyx.mean()) / density.values_zyx.std()
    near = np.linalg.norm(place[..., None, :] - ATOMS, axis=-1).min(-1) <= ZONE
    assert np.abs(found.values_zyx * found.step - expected.clip(0))[near].max() <= 0.51 * found.step
    assert not found.values_zyx[~near].any()
    assert near.any()


def test_the_first_level_encloses_its_share_of_the_models_volume():
    (found,) = page_densities([blob(1.0, 48)], [ATOMS], [4.0], MASS, 10**6)
    assert found is not None
    enclosed = np.count_nonzero(found.values_zyx * found.step > found.level)
    assert enclosed == pytest.approx(ENCLOSED * VOLUME_PER_DALTON * HYDROGENS * MASS, rel=0.1)


def test_a_fine_map_is_made_as_coarse_as_its_resolution_bears_and_stays_in_place():
    (found,) = page_densities([blob(0.5, 96)], [ATOMS], [6.0], MASS, 10**6)
    assert found is not None
    assert found.grid.voxel_size == pytest.approx(1.5, rel=0.06)
    peak = centres(found.grid)[np.unravel_index(found.values_zyx.argmax(), found.values_zyx.shape)]
    assert np.linalg.norm(peak) <= np.sqrt(3) / 2 * found.grid.voxel_size


def test_a_budget_makes_maps_coarser_then_leaves_out_the_last():
    maps = [blob(1.0, 48, noise=0.05, seed=seed) for seed in range(4)]
    free = page_densities(maps, [ATOMS] * 4, [4.0] * 4, MASS, 10**7)
    total = sum(len(each.packed) for each in free if each)
    tight = page_densities(maps, [ATOMS] * 4, [4.0] * 4, MASS, total // 2)
    assert [each.grid.voxel_size > 1.2 for each in tight if each] == [True] * 4
    assert sum(len(each.packed) for each in tight if each) <= total // 2
    tiny = page_densities(maps, [ATOMS] * 4, [4.0] * 4, MASS, total // 16)
    shown = [each is not None for each in tiny]
    assert 0 < sum(shown) < 4
    assert shown == sorted(shown, reverse=True)
    assert sum(len(each.packed) for each in tiny if each) <= total // 16


def test_a_model_at_the_maps_edge_keeps_its_zone():
    density = blob(1.0, 24)
    shifted = DensityMap(density.values_zyx, Grid(density.grid.shape_zyx, 1.0, (-8.0, -8.0, -8.0)))
    (found,) = page_densities([shifted], [ATOMS], [4.0], MASS, 10**6)
    assert found is not None
    assert found.grid.origin_xyz[0] <= ATOMS[0, 0] - ZONE
