"""A small data set made up for tests: one protein, maps of it in several states, its structure and its sequence."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.structure.alignment import sequence_of
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein

GRID = Grid((24, 20, 28), 3.0, (-30.0, -28.0, -36.0))


def made_density(model: AtomicModel, grid: Grid = GRID, seed: int = 0) -> DensityMap:
    """Atoms counted in voxels, blurred by a voxel, on a floor of noise."""
    rows = np.rint((model.positions_xyz - grid.origin_xyz) / grid.voxel_size).astype(int)[:, ::-1]
    values = np.random.default_rng(seed).normal(0.0, 0.01, grid.shape_zyx)
    counts = np.zeros(grid.shape_zyx)
    np.add.at(counts, tuple(rows.T), 1.0)
    return DensityMap((values + gaussian_filter(counts, 1.0)).astype(np.float32), grid)


def made_series(folder: Path, names: tuple[str, ...]) -> Path:
    """Write the maps with these names, and beside them model.cif and model.fasta; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    closed = made_protein(60)
    for number, name in enumerate(names):
        write_map(folder / name, made_density(made_protein(60, hinge_degrees=5.0 * number), seed=number))
    write_ensemble(folder / "model.cif", closed, closed.positions_xyz[None])
    (folder / "model.fasta").write_text(f">made\n{sequence_of(closed)}\n")
    return folder


def frames(count: int, job: str = "J42", component: int = 4) -> tuple[str, ...]:
    """Names as cryoSPARC gives them."""
    return tuple(f"{job}_component_{component:03d}_frame_{number:03d}.mrc" for number in range(count))
