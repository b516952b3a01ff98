"""MRC files laid out byte by byte, so that every oddity of a header can be made."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import dtype_from_mode

from cryofound.maps.header import MODES

Writer = Callable[..., Path]
STAMPS = {"<": (0x44, 0x44, 0, 0), ">": (0x11, 0x11, 0, 0)}


@pytest.fixture
def write_mrc(tmp_path: Path) -> Writer:
    """write(name, values_xyz, order=, mode=, byte_order=, start_xyz=, extended=, **words) -> the file's path.

    Columns, rows and sections run along the axes `order` (1 is x); the voxel is 1.5 A unless `words` say otherwise.
    """

    def write(
        name: str,
        values_xyz: np.ndarray,
        order: tuple[int, int, int] = (1, 2, 3),
        mode: int = 2,
        byte_order: str = "<",
        start_xyz: tuple[int, int, int] = (0, 0, 0),
        extended: int = 0,
        **words: object,
    ) -> Path:
        columns, rows, sections = (axis - 1 for axis in order)
        dtype = dtype_from_mode(mode if mode in MODES else 2).newbyteorder(byte_order)
        stored = values_xyz.transpose(sections, rows, columns).astype(dtype)
        header = np.zeros((), HEADER_DTYPE.newbyteorder(byte_order))
        header["nz"], header["ny"], header["nx"] = stored.shape
        header["mode"], header["nsymbt"], header["ispg"] = mode, extended, 1
        header["mapc"], header["mapr"], header["maps"] = order
        header["mx"], header["my"], header["mz"] = values_xyz.shape
        header["cella"] = tuple(1.5 * size for size in values_xyz.shape)
        header["cellb"] = (90, 90, 90)
        header["nxstart"], header["nystart"], header["nzstart"] = (start_xyz[axis - 1] for axis in order)
        header["map"], header["machst"] = b"MAP ", STAMPS[byte_order]
        for word, value in words.items():
            header[word] = value
        path = tmp_path / name
        path.write_bytes(header.tobytes() + bytes(extended) + stored.tobytes())
        return path

    return write
