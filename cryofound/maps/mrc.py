"""Density maps in MRC/CCP4 files, read whole and brought to z, y, x order with their place in space."""

import os
import warnings
from pathlib import Path

import mrcfile
import numpy as np

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid

CUBIC_TOLERANCE = 1e-3


def read_map(path: Path) -> DensityMap:
    """Read .mrc, .map or .ccp4, also .gz; values become float32 in (z, y, x) order, whatever order the file has.

    The origin is that of the ORIGIN words if any is not zero, else of the NSTART words. Raises MapError if the file
    cannot be read, holds no single map, has NaN or infinite values, or voxels that are not cubes.
    """
    path = Path(path)
    if not path.is_file():
        raise MapError(f"{path}: no such file; check the file named in the entry")
    try:
        with warnings.catch_warnings():
            # mrcfile warns of small faults of the header (a missing machine stamp, say); what matters is checked below.
            warnings.simplefilter("ignore", RuntimeWarning)
            with mrcfile.open(path, permissive=True) as file:
                header, data = file.header, file.data
    except (ValueError, OSError, EOFError) as error:
        raise MapError(f"{path}: not a readable map: {' '.join(str(error).split())}") from None
    if header is None or data is None:  # what a permissive reader gives where the bytes end too early
        raise MapError(f"{path}: not a readable map: cut short or not MRC; copy it again")
    if data.ndim != 3:
        raise MapError(f"{path}: holds no single three-dimensional map; give one map per file")
    order_xyz = [int(header[name]) for name in ("mapc", "mapr", "maps")]
    if sorted(order_xyz) != [1, 2, 3]:
        if any(order_xyz):
            raise MapError(f"{path}: axis order {order_xyz} is no permutation of 1, 2, 3; correct MAPC, MAPR and MAPS")
        order_xyz = [1, 2, 3]  # an old writer left them empty
    # Array axis k holds the file's sections, rows, columns; section, row, column run along x, y or z as the header
    # says.
    along = [order_xyz[2] - 1, order_xyz[1] - 1, order_xyz[0] - 1]
    values = np.transpose(data, [along.index(axis) for axis in (2, 1, 0)])
    voxel_size_xyz = _voxel_size(header, path)
    if not np.isfinite(values).all():
        bad = int(values.size - np.isfinite(values).sum())
        raise MapError(f"{path}: {bad} of {values.size} values are NaN or infinite; write the map again without them")
    starts = [int(header[name]) for name in ("nxstart", "nystart", "nzstart")]
    start_xyz = [starts[order_xyz.index(axis + 1)] for axis in range(3)]
    origin = np.array([float(header["origin"][axis]) for axis in "xyz"])
    if not origin.any():
        origin = np.array(start_xyz) * voxel_size_xyz
    shape: tuple[int, int, int] = values.shape  # type: ignore[assignment]
    grid = Grid(shape, float(voxel_size_xyz.mean()), (float(origin[0]), float(origin[1]), float(origin[2])))
    return DensityMap(np.ascontiguousarray(values, dtype=np.float32), grid)


def _voxel_size(header: np.recarray, path: Path) -> np.ndarray:
    cell = np.array([float(header["cella"][axis]) for axis in "xyz"])
    sampling = np.array([int(header[name]) for name in ("mx", "my", "mz")])
    angles = np.array([float(header["cellb"][name]) for name in ("alpha", "beta", "gamma")])
    if (sampling <= 0).any() or (cell <= 0).any():
        raise MapError(
            f"{path}: cell {cell.tolist()} A over {sampling.tolist()} voxels gives no voxel size; set the header's cell"
        )
    if angles.any() and np.abs(angles - 90).max() > 0.01:
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


def write_map(path: Path, density: DensityMap) -> None:
    """Write an MRC file in x, y, z order, its place in the ORIGIN words; the file appears whole or not at all."""
    path = Path(path)
    if not np.isfinite(density.values_zyx).all():
        raise MapError(f"{path}: the map to be written holds NaN or infinite values; nothing was written")
    aside = path.with_name(path.name + ".partial")
    with mrcfile.new(aside, overwrite=True) as file:
        file.set_data(np.ascontiguousarray(density.values_zyx, dtype=np.float32))
        file.voxel_size = density.grid.voxel_size
        assert file.header is not None  # a new file has one
        file.header.origin = density.grid.origin_xyz
    os.replace(aside, path)
