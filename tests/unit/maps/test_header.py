"""Headers: geometry by MRC2014, oddities that are understood, and one line for each that is not."""

import gzip
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from cryofound.errors import MapError
from cryofound.maps.header import read_header

VALUES_XYZ = np.arange(5 * 7 * 9, dtype=np.float32).reshape(5, 7, 9)


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
def test_geometry_is_in_x_y_z_whatever_the_order_of_the_file(order, write_mrc) -> None:
    header = read_header(write_mrc("m.mrc", VALUES_XYZ, order, start_xyz=(-2, 10, 3)))
    assert header.grid.shape_zyx == (9, 7, 5)
    assert header.grid.voxel_size == pytest.approx(1.5)
    assert header.grid.origin_xyz == pytest.approx([-3.0, 15.0, 4.5])
    assert header.axes == order
    assert header.remarks == ()


def test_a_part_of_a_larger_cell_keeps_the_cells_voxel_size(write_mrc) -> None:
    # 240 A over 160 intervals: 1.5 A, though 5, 7 and 9 voxels are stored.
    path = write_mrc("m.mrc", VALUES_XYZ, mx=160, my=160, mz=160, cella=(240, 240, 240), start_xyz=(40, 0, 0))
    header = read_header(path)
    assert header.grid.voxel_size == pytest.approx(1.5)
    assert header.grid.origin_xyz == pytest.approx([60.0, 0.0, 0.0])
    assert header.remarks == ("the cell is (160, 160, 160) voxels, the map (5, 7, 9) of them",)


def test_origin_words_go_before_nstart_and_the_difference_is_told(write_mrc) -> None:
    header = read_header(write_mrc("m.mrc", VALUES_XYZ, start_xyz=(1, 1, 1), origin=(10.0, -20.0, 5.5)))
    assert header.grid.origin_xyz == pytest.approx([10.0, -20.0, 5.5])
    assert header.remarks == ("ORIGIN [10.0, -20.0, 5.5] A is used, not NSTART, which says [1.5, 1.5, 1.5]",)
    alike = read_header(write_mrc("n.mrc", VALUES_XYZ, start_xyz=(1, 1, 1), origin=(1.5, 1.5, 1.5)))
    assert alike.remarks == ()


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("stamp", [(0, 0, 0, 0), (0x44, 0x44, 0, 0), (0x11, 0x11, 0, 0), (1, 2, 3, 4)])
@pytest.mark.parametrize("mode", [0, 2])
def test_byte_order_is_found_whatever_the_stamp_says(byte_order, stamp, mode, write_mrc) -> None:
    values = np.ones((5, 7, 9))
    header = read_header(write_mrc("m.mrc", values, mode=mode, byte_order=byte_order, machst=stamp))
    assert (header.byte_order, header.grid.shape_zyx) == (byte_order, (9, 7, 5))
    honest = {"<": (0x44, 0x44, 0, 0), ">": (0x11, 0x11, 0, 0)}[byte_order] == stamp
    assert any("machine stamp" in remark for remark in header.remarks) == (not honest)


def test_a_voxel_size_given_stands_in_for_a_missing_cell(write_mrc) -> None:
    path = write_mrc("m.mrc", VALUES_XYZ, cella=(0, 0, 0), start_xyz=(2, 0, 0))
    header = read_header(path, voxel_size=1.1)
    assert header.grid.voxel_size == 1.1
    assert header.grid.origin_xyz == pytest.approx([2.2, 0.0, 0.0])
    with pytest.raises(MapError, match="gives no voxel size"):
        read_header(path)


def test_labels_and_empty_axis_words(write_mrc) -> None:
    label = np.zeros(10, "S80")
    label[:2] = b"made by hand", b"second"
    header = read_header(write_mrc("m.mrc", VALUES_XYZ, label=label, nlabl=2, mapc=0, mapr=0, maps=0, dmin=-1, dmax=3))
    assert header.labels == ("made by hand", "second")
    assert (header.minimum, header.maximum) == (-1, 3)
    assert header.axes == (1, 2, 3)
    assert header.remarks == ("MAPC, MAPR, MAPS are empty; taken as x, y, z",)


def test_no_data_is_read(write_mrc, tmp_path: Path) -> None:
    """A header that tells of 860 TB, packed, with nothing behind it."""
    path = write_mrc("m.mrc", VALUES_XYZ, nx=60000, ny=60000, nz=60000)
    packed = tmp_path / "m.mrc.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()[:1024]))
    header = read_header(packed)
    assert header.grid.shape_zyx == (60000, 60000, 60000)
    assert header.data_bytes == 4 * 60000**3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"cella": (7.5, 10.5, 27.0)}, r"voxel size 1\.5 A along x, 3 A along z; resample it first"),
        ({"cellb": (90, 90, 120)}, r"cell angles are \[90.0, 90.0, 120.0\], not 90 degrees"),
        ({"cellb": (90, 90, np.nan)}, r"cell angles are \[90.0, 90.0, nan\], not 90 degrees"),
        ({"cella": (np.nan, 10.5, 13.5)}, "gives no voxel size"),
        ({"maps": 1}, r"axis order \[1, 2, 1\] is no permutation of 1, 2, 3"),
        ({"mapc": 4}, r"axis order \[4, 2, 3\] is no permutation of 1, 2, 3"),
        ({"mx": 0}, r"cell \[7.5, 10.5, 13.5\] A over \[0, 7, 9\] voxels gives no voxel size"),
        ({"ispg": 401, "mz": 3}, r"a stack of 3 maps \(space group 401, MZ 3\), not one map"),
        ({"ispg": 401, "mz": 0}, r"a stack of 9 images \(space group 401, MZ 0\), not one map"),
        ({"ispg": 0, "mz": 1}, "a stack of 9 images"),
        ({"nz": 1, "ispg": 0}, "5 x 7 x 1 voxels are no three-dimensional map"),
        ({"mode": 4}, "mode 4 is not read, only 0, 1, 2, 6, 12"),
        ({"mode": 101}, "mode 101 is not read, only 0, 1, 2, 6, 12"),
        ({"nx": -5}, r"\[-5, 7, 9\] columns, rows and sections"),
        ({"nsymbt": -80}, "extended header of -80 bytes"),
        ({"origin": (np.inf, 0, 0)}, r"ORIGIN words are \[inf, 0.0, 0.0\]"),
        ({"map": b"\0\0\0\0"}, "no 'MAP' at byte 208"),
        ({"nz": 10}, "cut short: 2284 bytes, its header tells of 2424; copy it again"),
        ({"nsymbt": 80}, "cut short: 2284 bytes, its header tells of 2364; copy it again"),
    ],
)
def test_refusals_are_one_line_with_both_values(words, expected, write_mrc) -> None:
    path = write_mrc("m.mrc", VALUES_XYZ, **words)
    with pytest.raises(MapError, match=expected) as raised:
        read_header(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"not a map", "9 bytes, an MRC header has 1024"),
        (b"not a map" * 200, "no 'MAP' at byte 208"),
        (b"", "0 bytes, an MRC header has 1024"),
        (b"\x1f\x8b not gzip after all", "not a readable map: "),
        (b"BZh not bzip2 after all", "not a readable map: "),
    ],
)
def test_what_is_no_map_is_called_so(content, expected, tmp_path: Path) -> None:
    path = tmp_path / "m.mrc"
    path.write_bytes(content)
    with pytest.raises(MapError, match=expected) as raised:
        read_header(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(MapError, match="no such file"):
        read_header(tmp_path / "none.mrc")
