"""Boxes: whatever is cut or padded, each value stays at its point in space."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofound.maps.boxes import box_about, cut_box, tight_box
from cryofound.maps.density_map import DensityMap, Grid

GRID = Grid((10, 12, 14), 1.5, (5.0, -3.0, 20.0))
DENSITY = DensityMap(np.random.default_rng(0).uniform(1, 2, GRID.shape_zyx).astype(np.float32), GRID)
starts = st.tuples(*[st.integers(-20, 20)] * 3)
shapes = st.tuples(*[st.integers(1, 24)] * 3)


def by_place(density: DensityMap) -> dict[tuple[float, ...], float]:
    """Each value that is not zero, by its x, y, z in angstrom."""
    return {
        tuple((np.array(density.grid.origin_xyz) + density.grid.voxel_size * at[::-1]).round(3)): float(
            density.values_zyx[tuple(at)]
        )
        for at in np.argwhere(density.values_zyx)
    }


@given(starts, shapes)
def test_values_stay_in_place_and_the_rest_is_zero(start: tuple[int, int, int], shape: tuple[int, int, int]) -> None:
    box = cut_box(DENSITY, start, shape)
    assert box.values_zyx.shape == box.grid.shape_zyx == shape
    common = [max(0, min(a + n, size) - max(a, 0)) for a, n, size in zip(start, shape, GRID.shape_zyx, strict=True)]
    assert np.count_nonzero(box.values_zyx) == np.prod(common)
    for axis, first in enumerate(start):
        assert box.grid.origin_xyz[2 - axis] == pytest.approx(GRID.origin_xyz[2 - axis] + 1.5 * first)
    whole = by_place(DENSITY)
    assert all(whole[place] == value for place, value in list(by_place(box).items())[::7])


@given(starts, shapes, st.integers(0, 5), st.sampled_from([1, 8]))
def test_a_tight_box_holds_the_mask_with_room_on_each_side(start, shape, padding: int, multiple: int) -> None:
    mask = np.zeros((48, 48, 48), dtype=bool)
    first = [max(a, 0) for a in start]
    mask[tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))] = True
    begin, size = tight_box(mask, padding, multiple)
    for a, n, b, s in zip(first, shape, begin, size, strict=True):
        low, high = a - b, (b + s) - (a + n)  # room before and after
        assert s % multiple == 0
        assert s < n + 2 * padding + multiple
        assert min(low, high) >= padding
        assert abs(low - high) <= 1


@pytest.mark.parametrize("shape", [(8, 9, 10), (3, 4, 5)])
def test_a_box_about_a_point_has_it_in_its_middle(shape: tuple[int, int, int]) -> None:
    centre = (13.2, 6.1, 27.7)
    box = cut_box(DENSITY, box_about(GRID, centre, shape), shape)
    middle = np.array(box.grid.origin_xyz) + 0.5 * box.grid.voxel_size * (np.array(shape[::-1]) - 1)
    assert np.abs(middle - centre).max() <= 0.5 * box.grid.voxel_size + 1e-9
