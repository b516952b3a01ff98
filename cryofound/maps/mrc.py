"""Density maps in MRC/CCP4 files, brought to z, y, x order with their place in space, and written back."""

import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import mrcfile
import numpy as np
import psutil
from mrcfile.utils import dtype_from_mode

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.header import MODES, MapHeader, open_bytes, read_header

COPIES = 2  # what reading holds at its peak: the stored values and the float32 ones in z, y, x order


def read_map(path: Path, *, voxel_size: float | None = None, mapped: bool = False) -> DensityMap:
    """Read .mrc, .map or .ccp4, also gzip or bzip2; values become float32 in (z, y, x) order, whatever order they had.

    `voxel_size` (angstrom) stands in for the header's. An uncompressed file is read through a memory map, so that one
    copy is held. With `mapped`, one of native float32 is not copied at all: its values are read from disk when looked
    at, strided in the file's order; they may not be changed, and the file must stay as it is. Raises MapError as
    `read_header` does, and if the values end too early, are more than fit into memory, or if any is NaN or infinite.
    """
    path = Path(path)
    header = read_header(path, voxel_size)
    needed, there = COPIES * 4 * math.prod(header.stored_shape), psutil.virtual_memory().total
    if needed > there:
        raise MapError(
            f"{path}: reading {' x '.join(map(str, header.stored_shape))} voxels takes {needed / 2**30:.1f} GiB, this "
            f"machine has {there / 2**30:.1f}; crop or bin the map first"
        )
    # header.axes[2 - k] is the axis (1 is x) along which array axis k runs.
    order = [2 - header.axes.index(axis) for axis in (3, 2, 1)]
    if header.compression == "none":
        stored = np.memmap(path, header.dtype, "r", header.data_offset, header.stored_shape).transpose(order)
        values = np.asarray(stored, np.float32) if mapped else np.array(stored, np.float32, order="C")
    else:
        values = np.asarray(_unpacked(path, header).transpose(order), np.float32, order="C")
    # Section by section: a test of the whole would hold another quarter of the map.
    bad = sum(section.size - int(np.count_nonzero(np.isfinite(section))) for section in values)
    if bad:
        raise MapError(f"{path}: {bad} of {values.size} values are NaN or infinite; write the map again without them")
    return DensityMap(values, header.grid)


def _unpacked(path: Path, header: MapHeader) -> np.ndarray:
    """(section, row, column) values as stored in a compressed file."""
    values = np.empty(header.stored_shape, header.dtype)
    try:
        with open_bytes(path, header.compression) as stream:
            stream.seek(header.data_offset)
            for number, section in enumerate(values):
                if stream.readinto(section.view(np.uint8).data) < section.nbytes:
                    raise MapError(
                        f"{path}: cut short in section {number} of {len(values)} when unpacked; copy it again"
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise MapError(f"{path}: not a readable map: {' '.join(str(error).split())}; copy it again") from None
    return values


def write_map(path: Path, density: DensityMap, *, mode: int = 2, labels: Sequence[str] = ()) -> None:
    """Write an MRC2014 file in x, y, z order; the file appears whole or not at all, the same bytes each time.

    The place is in the ORIGIN words and NSTART is zero, which ChimeraX understands. `mode` is that of MRC: 2 (float32),
    12 (float16, rounded) or 0, 1, 6 for whole numbers; `labels`, at most ten of 80 ASCII characters. Raises MapError if
    a value is NaN, infinite or beyond the mode, if a label does not fit, and for a name that promises compression.
    """
    path = Path(path)
    if path.suffix in (".gz", ".bz2"):
        raise MapError(f"{path}: maps are written uncompressed; leave out {path.suffix}")
    if len(labels) > 10 or any(len(label) > 80 or not label.isascii() for label in labels):
        raise MapError(f"{path}: {len(labels)} labels; at most 10 of at most 80 ASCII characters fit a header")
    values = _in_mode(density.values_zyx, mode, path)
    aside = path.with_name(path.name + ".partial")
    with mrcfile.new(aside, overwrite=True) as file:
        file.set_data(values)
        file.voxel_size = density.grid.voxel_size
        assert file.header is not None  # a new file has one
        file.header.origin = density.grid.origin_xyz
        file.header.label = [label.encode() for label in labels] + [b""] * (10 - len(labels))  # mrcfile puts the date
        file.header.nlabl = len(labels)
    os.replace(aside, path)


def _in_mode(values_zyx: np.ndarray, mode: int, path: Path) -> np.ndarray:
    """(z, y, x) values in the type of the mode."""
    if mode not in MODES:
        raise MapError(f"{path}: mode {mode} is not written, only {', '.join(map(str, MODES))}")
    if not np.isfinite(values_zyx).all():
        raise MapError(f"{path}: the map to be written holds NaN or infinite values; nothing was written")
    dtype = dtype_from_mode(mode)
    low, high = float(values_zyx.min()), float(values_zyx.max())
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    if low < limits.min or high > limits.max:
        raise MapError(
            f"{path}: values from {low:.6g} to {high:.6g} do not fit mode {mode} ({MODES[mode]}); use mode 2"
        )
    values = np.ascontiguousarray(values_zyx, dtype=dtype)
    if dtype.kind in "iu" and not np.array_equal(values, values_zyx):
        raise MapError(f"{path}: the values are not whole numbers, which mode {mode} ({MODES[mode]}) holds; use mode 2")
    return values
