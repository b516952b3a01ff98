"""Map files: every axis order, both ways to say where the map lies, and what is refused."""

from itertools import permutations
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import read_map, write_map

SHAPE_XYZ = (5, 7, 9)
VALUES_XYZ = np.random.default_rng(0).normal(size=SHAPE_XYZ).astype(np.float32)
VOXEL_SIZE = 1.5


def written(
    path: Path, order: tuple[int, int, int] = (1, 2, 3), start_xyz=(0, 0, 0), origin=(0, 0, 0), **header
) -> Path:
    """VALUES_XYZ with columns, rows and sections along the axes `order` (1 is x)."""
    columns, rows, sections = (axis - 1 for axis in order)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(np.ascontiguousarray(VALUES_XYZ.transpose(sections, rows, columns)))
        file.header.mapc, file.header.mapr, file.header.maps = order
        file.header.mx, file.header.my, file.header.mz = SHAPE_XYZ
        file.header.cella = tuple(VOXEL_SIZE * size for size in SHAPE_XYZ)
        file.header.nxstart, file.header.nystart, file.header.nzstart = (start_xyz[axis - 1] for axis in order)
        file.header.origin = origin
        for name, value in header.items():
            file.header[name] = value
    return path


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
@pytest.mark.filterwarnings("ignore::RuntimeWarning:mrcfile")
def test_axis_orders(order: tuple[int, int, int], tmp_path: Path) -> None:
    start_xyz = (-2, 10, 3)
    density = read_map(written(tmp_path / "m.mrc", order, start_xyz))
    np.testing.assert_array_equal(density.values_zyx, VALUES_XYZ.transpose(2, 1, 0))
    assert density.grid.origin_xyz == pytest.approx([VOXEL_SIZE * start for start in start_xyz])
    assert density.grid.voxel_size == pytest.approx(VOXEL_SIZE)
    theirs = gemmi.read_ccp4_map(str(tmp_path / "m.mrc"))
    theirs.setup(np.nan, gemmi.MapSetup.ReorderOnly)
    np.testing.assert_array_equal(density.values_zyx, np.array(theirs.grid, copy=False).transpose(2, 1, 0))


def test_origin_words_go_before_start_words(tmp_path: Path) -> None:
    density = read_map(written(tmp_path / "m.mrc", start_xyz=(1, 1, 1), origin=(10.0, -20.0, 5.5)))
    assert density.grid.origin_xyz == pytest.approx([10.0, -20.0, 5.5])


def test_round_trip(tmp_path: Path) -> None:
    density = DensityMap(VALUES_XYZ.transpose(2, 1, 0), Grid(SHAPE_XYZ[::-1], 1.25, (-3.0, 4.0, 0.5)))
    write_map(tmp_path / "m.mrc", density)
    back = read_map(tmp_path / "m.mrc")
    np.testing.assert_array_equal(back.values_zyx, density.values_zyx)
    assert back.grid.shape_zyx == density.grid.shape_zyx
    assert back.grid.voxel_size == pytest.approx(1.25)
    assert back.grid.origin_xyz == pytest.approx(density.grid.origin_xyz)
    assert mrcfile.validate(str(tmp_path / "m.mrc"))
    with pytest.raises(MapError, match="holds NaN"):
        write_map(tmp_path / "n.mrc", DensityMap(np.full_like(density.values_zyx, np.nan), density.grid))
    assert [path.name for path in tmp_path.iterdir()] == ["m.mrc"]


def test_refusals_are_one_line_with_both_values(tmp_path: Path) -> None:
    with_nan = written(tmp_path / "nan.mrc")
    with mrcfile.open(with_nan, "r+") as file:
        file.data[0, 0, :2] = np.nan
    (tmp_path / "text.mrc").write_text("not a map")
    cut = tmp_path / "cut.mrc"
    cut.write_bytes(written(tmp_path / "whole.mrc").read_bytes()[:1200])
    for path, expected in (
        (with_nan, "2 of 315 values are NaN or infinite"),
        (
            written(tmp_path / "a.mrc", cella=(7.5, 10.5, 27.0)),
            r"voxel size 1\.5 A along x, 3 A along z; resample it first",
        ),
        (written(tmp_path / "b.mrc", cellb=(90, 90, 120)), r"cell angles are \[90.0, 90.0, 120.0\]"),
        (written(tmp_path / "c.mrc", maps=1), r"axis order \[1, 2, 1\]"),
        (written(tmp_path / "d.mrc", cella=(0, 0, 0)), "gives no voxel size"),
        (tmp_path / "text.mrc", "not a readable map"),
        (cut, "cut short: 1200 bytes, its header tells of 2284"),
        (tmp_path / "none.mrc", "no such file"),
    ):
        with pytest.raises(MapError, match=expected) as raised:
            read_map(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)


@pytest.mark.shared
def test_one_map_placed_in_two_ways(shared_data: Path) -> None:
    maps = [read_map(path) for path in sorted((shared_data / "maps/emd21457seg_6vyb").glob("*.m*"))]
    assert len(maps) >= 2
    for other in maps[1:]:
        np.testing.assert_allclose(other.grid.origin_xyz, maps[0].grid.origin_xyz, atol=0.01)
        np.testing.assert_array_equal(other.values_zyx, maps[0].values_zyx)


@pytest.mark.shared
def test_a_series_without_machine_stamp_is_read(shared_data: Path) -> None:
    paths = sorted((shared_data / "maps/series_50S_cryodrgn").glob("*.mrc"))
    assert {read_map(path).grid.shape_zyx for path in paths} == {(64, 64, 64)}
