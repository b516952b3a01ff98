"""The picture shows every state, the same grey for the same density."""

import time
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from cryofound.catalog.picture import COLUMNS, DIRECTIONS, save_series_picture, series_picture
from cryofound.catalog.survey import PICTURE_EDGE, MapSurvey, survey
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map


def surveys(count: int) -> list[MapSurvey]:
    """Maps of 4 x 5 x 6 voxels (z, y, x), each with one value of its own everywhere."""
    shapes = ((5, 6), (4, 6), (4, 5))
    return [
        MapSurvey(
            Path(f"{number}.mrc"), "", 0.0, 1.0, 1.0, tuple(np.full(shape, number, np.float32) for shape in shapes)
        )
        for number in range(count)
    ]  # type: ignore[misc]  # three shapes give three sections


def test_every_state_is_where_its_name_is() -> None:
    names = [f"state_{number}" for number in range(COLUMNS + 2)]
    figure = series_picture(names, surveys(len(names)))
    assert len(figure.axes) == 2
    for band, axes in enumerate(figure.axes):
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == names[band * COLUMNS : (band + 1) * COLUMNS]
        assert [label.get_text() for label in axes.get_yticklabels()] == list(DIRECTIONS)
        mosaic = np.asarray(axes.images[0].get_array())
        for place, name in zip(axes.get_xticks(), labels, strict=True):
            column = mosaic[:, int(place) - 1]
            assert set(column[np.isfinite(column)].tolist()) == {float(name.removeprefix("state_"))}
    assert figure.axes[0].images[0].get_clim() == figure.axes[1].images[0].get_clim()


def test_sections_of_a_large_map_are_thinned_and_a_bright_corner_stays_in_its_corner(tmp_path: Path) -> None:
    values = np.zeros((4, 8, 3 * PICTURE_EDGE), np.float32)
    values[2, :4, -12:] = 5.0
    write_map(tmp_path / "a.mrc", DensityMap(values, Grid((4, 8, 3 * PICTURE_EDGE), 1.0, (0.0, 0.0, 0.0))))
    found, density = survey(tmp_path / "a.mrc")
    assert [section.shape for section in found.slices] == [(3, PICTURE_EDGE), (2, PICTURE_EDGE), (4, 8)]
    assert not any(np.shares_memory(section, density.values_zyx) for section in found.slices)
    save_series_picture(tmp_path / "a.png", ["a"], [found])
    first = (tmp_path / "a.png").read_bytes()
    save_series_picture(tmp_path / "a.png", ["a"], [found])
    assert (tmp_path / "a.png").read_bytes() == first
    assert imread(tmp_path / "a.png").ndim == 3
    axes = series_picture(["a"], [found]).axes[0]
    mosaic = np.asarray(axes.images[0].get_array())
    # Low y is at the bottom of a picture, the image's first row at its top.
    assert mosaic[2, PICTURE_EDGE - 2] == 5.0
    assert mosaic[0, PICTURE_EDGE - 2] == 0.0


def test_many_states_are_drawn_in_seconds(tmp_path: Path) -> None:
    start = time.process_time()
    save_series_picture(tmp_path / "a.png", [f"s{number}" for number in range(150)], surveys(150))
    assert time.process_time() - start < 10
