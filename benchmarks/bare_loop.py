"""The loop that ingest is measured beside: NumPy, SciPy and mrcfile on two processes, no checks, no checksums.

    python bare_loop.py JOBS.json

JOBS.json lists (map, rotation, shift, box_size, voxel_size, target.npy): each map is read with mrcfile, brought to the
canonical grid by cubic splines, and saved.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import mrcfile
import numpy as np
from scipy.ndimage import map_coordinates


def resampled(job: tuple[str, list[list[float]], list[float], int, float, str]) -> None:
    """One map."""
    path, rotation, shift, box_size, voxel_size, target = job
    with mrcfile.open(path) as file:
        values = np.array(file.data, dtype=np.float32)
        size = float(file.voxel_size.x)
        header = file.header
        assert header is not None
        origin = np.array([header.origin.x, header.origin.y, header.origin.z], dtype=np.float64)
        if not origin.any():
            origin = size * np.array([header.nxstart, header.nystart, header.nzstart])
    along = voxel_size * (np.arange(box_size) - 0.5 * (box_size - 1))
    z, y, x = np.meshgrid(along, along, along, indexing="ij")
    there = (np.stack([x, y, z], axis=-1) - np.array(shift)) @ np.array(rotation)
    voxels = ((there - origin) / size)[..., ::-1]
    moved = map_coordinates(values, np.moveaxis(voxels, -1, 0), order=3, mode="constant", cval=0.0)
    np.save(target, moved.astype(np.float32))


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(resampled, jobs, chunksize=8))
