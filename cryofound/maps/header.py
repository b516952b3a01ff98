"""What the header of an MRC/CCP4 file says, read without its data: enough to place, check and list a map."""

import bz2
import gzip
import math
import zlib
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp, dtype_from_mode

from cryofound.errors import MapError
from cryofound.maps.density_map import Grid

CUBIC_TOLERANCE = 1e-3
MODES = {0: "signed bytes", 1: "signed 16-bit", 2: "float32", 6: "unsigned 16-bit", 12: "float16"}
VOLUME_STACK = range(401, 631)  # space groups that MRC2014 gives to stacks of maps
Compression = Literal["none", "gzip", "bzip2"]


@dataclass(frozen=True)
class MapHeader:
    """`grid` as the map will have it once read; the rest is how the file stores it.

    `mode` is the MRC number; `axes` (MAPC, MAPR, MAPS), 1 is x; `stored_shape` (sections, rows, columns); `minimum` and
    `maximum` as stated, unchecked; `remarks` one sentence for each oddity that was understood all the same.
    """

    grid: Grid
    mode: int
    axes: tuple[int, int, int]
    stored_shape: tuple[int, int, int]
    data_offset: int
    byte_order: Literal["<", ">"]
    compression: Compression
    minimum: float
    maximum: float
    labels: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype:
        """Of the values as stored, byte order included."""
        return dtype_from_mode(self.mode).newbyteorder(self.byte_order)

    @property
    def data_bytes(self) -> int:
        """Length of the stored values, uncompressed."""
        return math.prod(self.stored_shape) * self.dtype.itemsize


def read_header(path: Path, voxel_size: float | None = None) -> MapHeader:
    """The header of .mrc, .map or .ccp4, also gzip or bzip2 (told by the bytes, not by the name).

    `voxel_size` (angstrom) stands in for a cell that is missing or wrong. The origin is that of the ORIGIN words if any
    is not zero, else NSTART times the voxel size; the voxel size is the cell over MX, MY, MZ, whatever NX, NY, NZ are
    (MRC2014, doi:10.1016/j.jsb.2015.04.002). Mode 0 is signed, as MRC2014 and mrcfile have it. Raises MapError with one
    line for everything that cannot be one map of cubic voxels, and for an uncompressed file that is cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise MapError(f"{path}: no such file; check the file named in the entry")
    try:
        compression = compression_of(path)
        with open_bytes(path, compression) as stream:
            raw = stream.read(HEADER_DTYPE.itemsize)
    except (OSError, EOFError, zlib.error) as error:
        raise MapError(f"{path}: not a readable map: {' '.join(str(error).split())}") from None
    if len(raw) < HEADER_DTYPE.itemsize:
        raise MapError(f"{path}: not a readable map: {len(raw)} bytes, an MRC header has {HEADER_DTYPE.itemsize}")
    words = np.frombuffer(raw, HEADER_DTYPE)[0]
    if bytes(words["map"])[:3] != b"MAP":
        raise MapError(f"{path}: not a readable map: no 'MAP' at byte 208, so not MRC2000/2014 or CCP4; convert it")
    remarks: list[str] = []
    byte_order = _byte_order(raw, path, remarks)
    words = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(byte_order))[0]
    mode = int(words["mode"])
    if mode == 0:
        remarks.append("mode 0 is read as signed bytes")
    axes = _axes(words, path, remarks)
    stored_shape = _stored_shape(words, path)
    # Array axis k holds sections, rows, columns; axes[2 - k] says along which of x, y, z they run.
    x, y, z = (stored_shape[2 - axes.index(axis)] for axis in (1, 2, 3))
    size_xyz = _voxel_size(words, path) if voxel_size is None else np.full(3, float(voxel_size))
    sampling = tuple(int(words[name]) for name in ("mx", "my", "mz"))
    if voxel_size is None and sampling != (x, y, z):
        remarks.append(f"the cell is {sampling} voxels, the map {(x, y, z)} of them")
    header = MapHeader(
        grid=Grid((z, y, x), float(size_xyz.mean()), _origin(words, axes, size_xyz, path, remarks)),
        mode=mode,
        axes=axes,
        stored_shape=stored_shape,
        data_offset=HEADER_DTYPE.itemsize + int(words["nsymbt"]),
        byte_order=byte_order,
        compression=compression,
        minimum=float(words["dmin"]),
        maximum=float(words["dmax"]),
        labels=tuple(
            bytes(label).decode("ascii", "replace").rstrip(" \0")
            for label in words["label"][: max(int(words["nlabl"]), 0)]
        ),
        remarks=tuple(remarks),
    )
    if compression == "none":
        expected, found = header.data_offset + header.data_bytes, path.stat().st_size
        if found < expected:
            raise MapError(f"{path}: cut short: {found} bytes, its header tells of {expected}; copy it again")
    return header


def compression_of(path: Path) -> Compression:
    """How the bytes of a file are packed, by its first bytes."""
    with Path(path).open("rb") as stream:
        magic = stream.read(3)
    return "gzip" if magic[:2] == b"\x1f\x8b" else "bzip2" if magic == b"BZh" else "none"


def open_bytes(path: Path, compression: Compression) -> BufferedIOBase:
    """A stream of the unpacked bytes."""
    if compression == "gzip":
        return gzip.GzipFile(path)
    return bz2.BZ2File(path) if compression == "bzip2" else Path(path).open("rb")


def _byte_order(raw: bytes, path: Path, remarks: list[str]) -> Literal["<", ">"]:
    """By the machine stamp where it makes sense of mode and axes, else the order that does."""
    stamp = np.frombuffer(raw, HEADER_DTYPE)[0]["machst"]
    try:
        stated = byte_order_from_machine_stamp(stamp)
    except ValueError:
        stated = None
    orders: tuple[Literal["<", ">"], Literal["<", ">"]] = (">", "<") if stated == ">" else ("<", ">")
    for order in orders:
        words = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0]
        # Mode 0 and empty axes read alike both ways; sizes do not: no edge has 65536 voxels, and a swapped one has.
        if int(words["mode"]) in MODES and all(0 < int(words[name]) < 65536 for name in ("nx", "ny", "nz")):
            if order != stated:
                remarks.append(
                    f"machine stamp {bytes(stamp[:2]).hex(' ')} says otherwise or nothing; read as {_endian(order)}"
                )
            return order
    words = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(orders[0]))[0]
    mode, sizes = int(words["mode"]), [int(words[name]) for name in ("nx", "ny", "nz")]
    if mode not in MODES:
        raise MapError(f"{path}: mode {mode} is not read, only {', '.join(map(str, MODES))}; convert the map to mode 2")
    raise MapError(f"{path}: not a readable map: {sizes} columns, rows and sections; the header is damaged")


def _endian(order: str) -> str:
    return "big-endian" if order == ">" else "little-endian"


def _axes(words: np.void, path: Path, remarks: list[str]) -> tuple[int, int, int]:
    columns, rows, sections = (int(words[name]) for name in ("mapc", "mapr", "maps"))
    if sorted((columns, rows, sections)) == [1, 2, 3]:
        return columns, rows, sections
    if columns or rows or sections:
        raise MapError(
            f"{path}: axis order {[columns, rows, sections]} is no permutation of 1, 2, 3; correct MAPC, MAPR and MAPS"
        )
    remarks.append("MAPC, MAPR, MAPS are empty; taken as x, y, z")
    return 1, 2, 3


def _stored_shape(words: np.void, path: Path) -> tuple[int, int, int]:
    columns, rows, sections = (int(words[name]) for name in ("nx", "ny", "nz"))
    group, per_map = int(words["ispg"]), int(words["mz"])
    if group in VOLUME_STACK or (group == 0 and per_map == 1 and sections > 1):
        kind = f"{sections // per_map} maps" if group in VOLUME_STACK and per_map > 0 else f"{sections} images"
        raise MapError(f"{path}: a stack of {kind} (space group {group}, MZ {per_map}), not one map; split it first")
    if min(columns, rows, sections) < 2:
        raise MapError(
            f"{path}: {columns} x {rows} x {sections} voxels are no three-dimensional map; give one map per file"
        )
    if int(words["nsymbt"]) < 0:
        raise MapError(f"{path}: extended header of {int(words['nsymbt'])} bytes; the header is damaged")
    return sections, rows, columns


def _origin(
    words: np.void, axes: tuple[int, int, int], size_xyz: np.ndarray, path: Path, remarks: list[str]
) -> tuple[float, float, float]:
    starts = [int(words[name]) for name in ("nxstart", "nystart", "nzstart")]
    start_xyz = np.array([starts[axes.index(axis)] for axis in (1, 2, 3)])
    origin = np.array([float(words["origin"][axis]) for axis in "xyz"])
    if not np.isfinite(origin).all():
        raise MapError(f"{path}: ORIGIN words are {origin.tolist()}; set them to 0 or to angstroms")
    placed = start_xyz * size_xyz
    if not origin.any():
        origin = placed
    elif start_xyz.any() and np.abs(origin - placed).max() > 0.01:
        remarks.append(
            f"ORIGIN {origin.round(3).tolist()} A is used, not NSTART, which says {placed.round(3).tolist()}"
        )
    return float(origin[0]), float(origin[1]), float(origin[2])


def _voxel_size(words: np.void, path: Path) -> np.ndarray:
    cell = np.array([float(words["cella"][axis]) for axis in "xyz"])
    sampling = np.array([int(words[name]) for name in ("mx", "my", "mz")])
    angles = np.array([float(words["cellb"][name]) for name in ("alpha", "beta", "gamma")])
    if not ((sampling > 0).all() and (cell > 0).all() and np.isfinite(cell).all()):
        raise MapError(
            f"{path}: cell {cell.tolist()} A over {sampling.tolist()} voxels gives no voxel size; set the header's cell"
        )
    if angles.any() and not np.abs(angles - 90).max() <= 0.01:
        raise MapError(
            f"{path}: cell angles are {angles.tolist()}, not 90 degrees; resample it to an orthogonal grid first"
        )
    size = cell / sampling
    if size.max() - size.min() > CUBIC_TOLERANCE * size.mean():
        axes = "xyz"
        low, high = int(size.argmin()), int(size.argmax())
        raise MapError(
            f"{path}: voxel size {size[low]:.4g} A along {axes[low]}, {size[high]:.4g} A along {axes[high]}; "
            "resample it first"
        )
    return size
