"""Map files: every axis order, mode, byte order and packing gives the same map; writing keeps geometry."""

import bz2
import gzip
import tracemalloc
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
WHOLE_XYZ = np.random.default_rng(1).integers(-100, 100, SHAPE_XYZ)


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
def test_axis_orders(order, write_mrc) -> None:
    path = write_mrc("m.mrc", VALUES_XYZ, order, start_xyz=(-2, 10, 3))
    density = read_map(path)
    np.testing.assert_array_equal(density.values_zyx, VALUES_XYZ.transpose(2, 1, 0))
    assert density.values_zyx.flags.c_contiguous
    theirs = gemmi.read_ccp4_map(str(path))
    theirs.setup(np.nan, gemmi.MapSetup.ReorderOnly)
    np.testing.assert_array_equal(density.values_zyx, np.array(theirs.grid, copy=False).transpose(2, 1, 0))
    np.testing.assert_array_equal(read_map(path, mapped=True).values_zyx, density.values_zyx)


@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("packing", ["plain", "gzip", "bzip2"])
def test_modes_byte_orders_and_packings(mode, byte_order, packing, write_mrc, tmp_path: Path) -> None:
    whole = np.abs(WHOLE_XYZ) if mode == 6 else WHOLE_XYZ  # negative densities stay negative in every signed mode
    path = write_mrc("m.mrc", whole, (3, 1, 2), mode=mode, byte_order=byte_order, extended=160)
    pack = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}[packing]
    other = tmp_path / "packed.map"  # the name does not tell
    other.write_bytes(pack(path.read_bytes()))
    density = read_map(other)
    assert density.values_zyx.dtype == np.float32
    assert density.values_zyx.dtype.isnative
    np.testing.assert_array_equal(density.values_zyx, whole.transpose(2, 1, 0))
    np.testing.assert_array_equal(read_map(other, mapped=True).values_zyx, density.values_zyx)


def test_a_mapped_map_holds_no_copy_and_a_read_one_holds_one(write_mrc) -> None:
    values = np.zeros((64, 64, 64), dtype=np.float32)
    size = values.nbytes
    path = write_mrc("m.mrc", values)
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for source, mapped, limit in ((path, True, 0.2), (path, False, 1.2), (packed, False, 1.2)):
        tracemalloc.start()
        density = read_map(source, mapped=mapped)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit * size, (source, mapped)
        assert density.values_zyx.flags.writeable is not mapped
    turned = write_mrc("t.mrc", values, (3, 2, 1))
    packed.write_bytes(gzip.compress(turned.read_bytes()))
    tracemalloc.start()
    read_map(packed)
    assert tracemalloc.get_traced_memory()[1] < 2.2 * size
    tracemalloc.stop()


def test_round_trip(tmp_path: Path) -> None:
    density = DensityMap(VALUES_XYZ.transpose(2, 1, 0), Grid(SHAPE_XYZ[::-1], 1.25, (-3.0, 4.0, 0.5)))
    path = tmp_path / "m.mrc"
    write_map(path, density, labels=("made for a test",))
    back = read_map(path)
    np.testing.assert_array_equal(back.values_zyx, density.values_zyx)
    assert back.grid.shape_zyx == density.grid.shape_zyx
    assert back.grid.voxel_size == pytest.approx(1.25)
    assert back.grid.origin_xyz == pytest.approx(density.grid.origin_xyz)
    assert mrcfile.validate(str(path))
    with mrcfile.open(path) as file:
        assert file.header is not None
        assert [int(file.header[name]) for name in ("mapc", "mapr", "maps")] == [1, 2, 3]
        assert [int(file.header[name]) for name in ("nxstart", "nystart", "nzstart")] == [0, 0, 0]
        assert [int(file.header[name]) for name in ("mx", "my", "mz")] == list(SHAPE_XYZ)
        assert file.get_labels() == ["made for a test"]
        assert int(file.header.ispg) == 1
    first = path.read_bytes()
    write_map(path, back, labels=("made for a test",))
    assert path.read_bytes() == first  # no date in it


@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
def test_modes_written_are_read_back(mode: int, tmp_path: Path) -> None:
    whole = (np.abs(WHOLE_XYZ) if mode == 6 else WHOLE_XYZ).transpose(2, 1, 0).astype(np.float32)
    write_map(tmp_path / "m.mrc", DensityMap(whole, Grid(SHAPE_XYZ[::-1], 1.0, (0.0, 0.0, 0.0))), mode=mode)
    np.testing.assert_array_equal(read_map(tmp_path / "m.mrc").values_zyx, whole)
    with mrcfile.open(tmp_path / "m.mrc") as file:
        assert file.header is not None
        assert int(file.header.mode) == mode


@pytest.mark.parametrize(
    ("name", "value", "options", "expected"),
    [
        ("m.mrc", np.nan, {}, "holds NaN"),
        ("m.mrc", 200.0, {"mode": 0}, r"values from 0 to 200 do not fit mode 0 \(signed bytes\)"),
        ("m.mrc", -1.0, {"mode": 6}, "values from -1 to 0 do not fit mode 6"),
        ("m.mrc", 1e6, {"mode": 12}, r"do not fit mode 12 \(float16\)"),
        ("m.mrc", 0.5, {"mode": 1}, "not whole numbers, which mode 1"),
        ("m.mrc", 0.5, {"mode": 3}, "mode 3 is not written"),
        ("m.mrc", 0.5, {"labels": ("x" * 81,)}, "at most 10 of at most 80 ASCII"),
        ("m.mrc.gz", 0.5, {}, "leave out .gz"),
    ],
)
def test_what_cannot_be_written_leaves_nothing_behind(name, value, options, expected, tmp_path: Path) -> None:
    values = np.zeros((4, 4, 4), dtype=np.float32)
    values[1, 1, 1] = value
    with pytest.raises(MapError, match=expected):
        write_map(tmp_path / name, DensityMap(values, Grid((4, 4, 4), 1.0, (0.0, 0.0, 0.0))), **options)
    assert not list(tmp_path.iterdir())


def test_values_that_are_not_numbers_are_counted(write_mrc) -> None:
    values = VALUES_XYZ.copy()
    values[0, 0, :2] = np.nan
    values[4, 6, 8] = np.inf
    for name, order in (("a.mrc", (1, 2, 3)), ("b.mrc", (3, 2, 1))):
        with pytest.raises(MapError, match="3 of 315 values are NaN or infinite"):
            read_map(write_mrc(name, values, order))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_files_that_end_too_early(pack, write_mrc, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(20, 20, 20))
    whole = write_mrc("m.mrc", noise).read_bytes()
    path = tmp_path / "packed.mrc"
    path.write_bytes(pack(whole[:20000]))  # packed after it was cut short: 11 whole sections
    with pytest.raises(MapError, match="cut short in section 11 of 20 when unpacked; copy it again") as raised:
        read_map(path)
    assert "\n" not in str(raised.value)
    path.write_bytes(pack(whole)[:-5000])  # cut short after it was packed
    with pytest.raises(MapError, match="not a readable map") as raised:
        read_map(path)
    assert "\n" not in str(raised.value)


def test_a_map_larger_than_memory_is_refused_before_it_is_read(write_mrc) -> None:
    path = write_mrc("m.mrc", VALUES_XYZ, nx=60000, ny=60000, nz=60000)
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(MapError, match=r"60000 x 60000 x 60000 voxels takes 1609325.4 GiB, this machine has"):
        read_map(path)


@pytest.mark.shared
def test_one_map_placed_in_two_ways(shared_data: Path) -> None:
    maps = [read_map(path) for path in sorted((shared_data / "maps/emd21457seg_6vyb").glob("*.m*"))]
    assert len(maps) >= 2
    for other in maps[1:]:
        np.testing.assert_allclose(other.grid.origin_xyz, maps[0].grid.origin_xyz, atol=1e-4)
        np.testing.assert_array_equal(other.values_zyx, maps[0].values_zyx)


@pytest.mark.shared
def test_a_series_without_machine_stamp_is_read(shared_data: Path) -> None:
    paths = sorted((shared_data / "maps/series_50S_cryodrgn").glob("*.mrc"))
    maps = [read_map(path) for path in paths]
    assert len(maps) == 12
    assert {density.grid.shape_zyx for density in maps} == {(64, 64, 64)}
    for density in maps[1:]:  # states of one particle: read in the wrong byte order they would be unlike
        assert np.corrcoef(maps[0].values_zyx.ravel(), density.values_zyx.ravel())[0, 1] > 0.5
