"""The map of a state that is given by its atoms: drawn by the forward model, with noise that its name decides."""

import hashlib

import numpy as np
import torch
from scipy.spatial import cKDTree

from cryofound.catalog.entry import Simulation
from cryofound.maps.density_map import Grid
from cryofound.physics.density import render_gaussian
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel

NOISE_REACH = 3.0  # angstrom
_NUMBER_OF_ELEMENT = np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS], dtype=np.float32)


def simulate_map(model: AtomicModel, grid: Grid, simulation: Simulation, name: str) -> np.ndarray:
    """(z, y, x) float32: the model's density with white noise; `name` and the simulation's seed decide the noise."""
    positions = torch.from_numpy(np.ascontiguousarray(model.positions_xyz, dtype=np.float32))[None]
    amplitudes = torch.from_numpy(_NUMBER_OF_ELEMENT[model.element])[None]
    density = render_gaussian(positions, amplitudes, grid, simulation.resolution)[0].numpy()
    if simulation.noise == 0:
        return density
    inside = within_reach(model.positions_xyz, grid, NOISE_REACH)
    seed = int.from_bytes(hashlib.sha256(f"{simulation.seed} {name}".encode()).digest()[:8], "little")
    noise = np.random.default_rng(seed).standard_normal(density.shape, dtype=np.float32)
    return density + np.float32(simulation.noise * density[inside].std()) * noise


def within_reach(positions_xyz: np.ndarray, grid: Grid, reach: float) -> np.ndarray:
    """(z, y, x) bool: voxels nearer than `reach` angstrom to an atom (atom, 3)."""
    x, y, z = (
        start + grid.voxel_size * np.arange(size)
        for start, size in zip(grid.origin_xyz, grid.shape_zyx[::-1], strict=True)
    )
    centres = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    return np.isfinite(cKDTree(positions_xyz).query(centres, distance_upper_bound=reach)[0])
