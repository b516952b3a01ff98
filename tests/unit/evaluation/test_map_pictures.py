import dataclasses

import numpy as np
import pytest
from matplotlib.image import imread

from cryofound.evaluation.map_pictures import (
    Comparison,
    clearest_axis,
    comparison_picture,
    correlation,
    fitted_values,
    save_comparison_picture,
)
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.shells import shell_correlation

GRID = Grid.centred(24, 2.0)


def blob(x: float, y: float, z: float, width: float = 5.0) -> np.ndarray:
    """A Gaussian at a place in angstrom."""
    along = np.arange(24) * 2.0 + GRID.origin_xyz[0]
    squares = ((along - z) ** 2)[:, None, None] + ((along - y) ** 2)[:, None] + (along - x) ** 2
    return np.exp(-squares / (2 * width**2)).astype(np.float32)


def compare(density: np.ndarray, reconstruction: np.ndarray, label: str = "state a") -> Comparison:
    return Comparison(label, DensityMap(density, GRID), DensityMap(reconstruction, GRID), 8.0)


def panels(*comparisons: Comparison):
    axes = comparison_picture("title", comparisons).axes
    return [axes[4 * row : 4 * row + 4] for row in range(len(comparisons))]  # the colour bars come after them


def test_scale_and_shift_of_a_reconstruction_do_not_matter():
    density = blob(4, 0, 0)
    same = compare(density, 3 * density + 5)
    np.testing.assert_allclose(fitted_values(same), density, atol=1e-6)
    assert correlation(same) == pytest.approx(1)
    other = compare(density, 0.2 * blob(0, 6, 0) - 1)
    assert correlation(other) == pytest.approx(np.corrcoef(density.ravel(), blob(0, 6, 0).ravel())[0, 1], rel=1e-5)
    assert correlation(compare(density, np.zeros_like(density))) == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_motion_is_seen_from_the_side(axis):
    across = [np.eye(3)[2 - other] * 8 for other in range(3) if other != axis]  # x y z of the two other array axes
    moved = [blob(*(sign * (across[0] + across[1]))) for sign in (1, -1)]
    assert clearest_axis(moved) == axis


def test_missing_density_is_red_at_its_place():
    density = blob(-8, 0, -6) + blob(8, 0, 6)
    ((shown, rebuilt, difference, _),) = panels(compare(density, blob(-8, 0, -6)))
    image = difference.images[0]
    left, right, bottom, top = image.get_extent()
    values = np.asarray(image.get_array())
    row, column = np.unravel_index(values.argmax(), values.shape)
    names = [difference.get_xlabel()[0], shown.get_ylabel().splitlines()[1][0]]
    place = {
        names[0]: left + (column + 0.5) * (right - left) / values.shape[1],
        names[1]: bottom + (row + 0.5) * (top - bottom) / values.shape[0],
    }
    true = {"x": 8, "y": 0, "z": 6}
    assert all(abs(value - true[name]) <= 2 for name, value in place.items())
    # what is there in both has the same shade in both, apart from the scale of the fit
    assert shown.images[0].get_clim() == rebuilt.images[0].get_clim()
    assert "state a" in shown.get_ylabel()


def test_difference_of_a_perfect_reconstruction_is_blank():
    density = blob(3, 2, 1)
    ((*_, difference, shells),) = panels(compare(density, 2 * density))
    image = difference.images[0]
    assert np.abs(np.asarray(image.get_array())).max() < 1e-3 * image.get_clim()[1]
    np.testing.assert_allclose(shells.lines[0].get_ydata(), 1, atol=1e-4)
    assert "NCC 1.000" in shells.texts[0].get_text()


def test_curve_is_the_shell_correlation(rng):
    noisy = compare(blob(0, 0, 0, 3.0), blob(1, 0, 0, 3.0) + rng.normal(scale=0.05, size=(24, 24, 24)))
    ((*_, shells),) = panels(noisy)
    expected = shell_correlation(noisy.density, noisy.reconstruction)
    np.testing.assert_array_equal(shells.lines[0].get_ydata(), expected.correlation)
    assert f"0.5 at {expected.resolution(0.5):.1f} Å" in shells.texts[0].get_text()


def test_all_rows_show_the_same_part_of_the_box():
    first, second = panels(
        compare(blob(8, 0, 0, 2.0), blob(8, 0, 0, 2.0)), compare(blob(-8, 4, 0, 2.0), blob(-8, 4, 0, 2.0), "state b")
    )
    assert first[0].images[0].get_extent() == second[2].images[0].get_extent()
    left, right, bottom, top = first[0].images[0].get_extent()
    assert right - left < 40
    assert top - bottom < right - left


def test_constant_reconstruction_has_a_picture_and_says_why_no_curve():
    constant = compare(blob(0, 0, 0), np.zeros((24, 24, 24), np.float32))
    ((*_, shells),) = panels(constant)
    assert "no signal" in shells.texts[0].get_text()
    empty = dataclasses.replace(constant, density=constant.reconstruction)
    comparison_picture("empty", [empty]).canvas.draw()


def test_file_is_an_image_and_the_same_twice(tmp_path):
    comparison = compare(blob(4, 0, 0), blob(0, 4, 0))
    for name in ("one.png", "two.png"):
        save_comparison_picture(tmp_path / "pictures" / name, "title", [comparison, comparison])
    one, two = (tmp_path / "pictures" / name for name in ("one.png", "two.png"))
    assert one.read_bytes() == two.read_bytes()
    assert imread(one).shape[:2] == (759, 1430)
