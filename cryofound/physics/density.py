"""Forward model: atoms to density, differentiable in positions, B-factors and occupancies.

An atom is a short sum of Gaussians (form_factors.py), left out beyond the radius at which it falls to a cut-off. On
the CPU compiled kernels visit only the voxels within that radius (splatting.py); on other devices the same windows are
evaluated in chunks of atoms (windows.py). Both have their gradients written by hand, so that memory is that of the
atoms and the voxels, whatever the windows. `render_dense`, plain autograd over every voxel, is the tests' oracle.

What the cut-off leaves out: at any voxel less than `cutoff` for each atom that is further away than its radius.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cryofound.errors import MapError
from cryofound.maps.density_map import Grid
from cryofound.physics.form_factors import electron_form, gaussian_form, gaussian_sigma
from cryofound.physics.splatting import BLOCK, REACH, TERMS, gather, splat
from cryofound.physics.windows import WindowSplat

GAUSSIAN_CUTOFF = 2.5e-4  # of one electron; a carbon is left out beyond 4.5 sigma
ELECTRON_CUTOFF = 1e-5  # what gemmi's calculators leave out by default

__all__ = ["gaussian_sigma", "render", "render_dense", "render_electron", "render_gaussian"]


def render_gaussian(
    positions_xyz: Tensor, amplitudes: Tensor, grid: Grid, resolution: float, cutoff: float = GAUSSIAN_CUTOFF
) -> Tensor:
    """Density of each model of a batch, one Gaussian per atom.

    positions_xyz (batch, atom, 3) angstrom; amplitudes (batch, atom), 0 for padding; resolution angstrom; returns
    (batch, z, y, x). Atoms outside the grid add what reaches into it. Differentiable in positions and amplitudes.
    """
    return render(positions_xyz, *gaussian_form(amplitudes, resolution), grid, cutoff)


def render_electron(
    positions_xyz: Tensor,
    atomic_number: Tensor,
    b_factor: Tensor,
    occupancy: Tensor,
    grid: Grid,
    blur: float = 0.0,
    cutoff: float = ELECTRON_CUTOFF,
) -> Tensor:
    """Electrostatic potential of each model of a batch, the same numbers as gemmi's `DensityCalculatorE`.

    positions_xyz (batch, atom, 3) angstrom; atomic_number, b_factor (angstrom^2) and occupancy (batch, atom), atomic
    number 0 for padding; blur angstrom^2, `form_factors.resolution_blur` for a resolution; cutoff in the unit of the
    density; returns (batch, z, y, x). Differentiable in positions, B-factors and occupancies.
    """
    return render(positions_xyz, *electron_form(atomic_number, b_factor, occupancy, blur), grid, cutoff)


def render(positions_xyz: Tensor, heights: Tensor, decays: Tensor, grid: Grid, cutoff: float) -> Tensor:
    """Sum of height * exp(-decay * r^2) over all atoms and terms, (batch, z, y, x).

    positions_xyz (batch, atom, 3) angstrom; heights >= 0 and decays > 0 (angstrom^-2), both (batch, atom, term).
    float32, or float64 to check. Raises MapError for a grid whose voxels are not cubes.
    """
    if np.ndim(grid.voxel_size) != 0:
        raise MapError(f"voxels of {grid.voxel_size} A are no cubes; resample the map to cubic voxels first")
    heights, decays = heights.to(positions_xyz.dtype), decays.to(positions_xyz.dtype)
    radii = cutoff_radius(heights.detach(), decays.detach(), cutoff)
    compiled = positions_xyz.device.type == "cpu" and heights.shape[-1] in TERMS
    if compiled and radii.numel():
        compiled = 2 * float(radii.max()) / grid.voxel_size + BLOCK + 2 < REACH
    return (_Splat if compiled else WindowSplat).apply(positions_xyz, heights, decays, radii, grid)


def render_dense(positions_xyz: Tensor, heights: Tensor, decays: Tensor, grid: Grid) -> Tensor:
    """The same density as `render` without a cut-off, by plain autograd over every voxel; for small models only."""
    factors = []
    for axis, size in zip((2, 1, 0), grid.shape_zyx, strict=True):
        voxels = torch.arange(size, dtype=positions_xyz.dtype, device=positions_xyz.device) * grid.voxel_size
        distance = positions_xyz[:, :, axis, None] - (voxels + grid.origin_xyz[axis])
        factors.append(torch.exp(-decays[..., None] * distance[:, :, None].square()))
    z, y, x = factors
    return torch.einsum("batz,baty,batx->bzyx", z * heights[..., None], y, x)


def cutoff_radius(heights: Tensor, decays: Tensor, cutoff: float) -> Tensor:
    """Radius in angstrom at which each atom falls to `cutoff`, 0 for one that never reaches it.

    heights, decays (batch, atom, term) -> (batch, atom). Newton's method on the logarithm in r^2: it is convex and
    falls, so that after its first step the iteration approaches the radius from within.
    """
    top = heights.sum(-1)
    square = (top / cutoff).clamp_min(1.0).log() / decays.amin(-1)
    for _ in range(6):
        parts = heights * torch.exp(-decays * square[..., None])
        value = parts.sum(-1).clamp_min(torch.finfo(heights.dtype).tiny)
        square = (square + (value / cutoff).log() * value / (parts * decays).sum(-1).clamp_min(1e-30)).clamp_min(0.0)
    return torch.where(top > cutoff, square.sqrt(), 0.0)


class _Splat(torch.autograd.Function):
    """The compiled path; arguments as in `render`, with radii (batch, atom)."""

    @staticmethod
    def forward(ctx: Any, positions_xyz: Tensor, heights: Tensor, decays: Tensor, radii: Tensor, grid: Grid) -> Tensor:
        ctx.save_for_backward(positions_xyz, heights, decays, radii)
        ctx.grid = grid
        density = positions_xyz.new_zeros(len(positions_xyz), *grid.shape_zyx)
        atoms = _arrays(positions_xyz, heights, decays, radii)
        place = (np.asarray(grid.origin_xyz, dtype=np.float64), float(grid.voxel_size))
        values = density.numpy()
        slabs = -(-torch.get_num_threads() // len(positions_xyz))
        edges = [_sections(model, place, grid.shape_zyx[0], slabs) for model in atoms[0]]
        _run(
            splat,
            [
                (*(array[row] for array in atoms), values[row], *place, low, high)
                for row, edge in enumerate(edges)
                for low, high in pairwise(edge)
            ],
        )
        return density

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        positions_xyz, heights, decays, radii = ctx.saved_tensors
        cotangent = grad_outputs[0].contiguous().numpy()
        gradient = torch.zeros_like(positions_xyz, memory_format=torch.contiguous_format)
        shape = heights.shape if any(ctx.needs_input_grad[1:3]) else (len(heights), 0, heights.shape[2])
        height_gradient, decay_gradient = heights.new_zeros(shape), heights.new_zeros(shape)
        atoms = _arrays(positions_xyz, heights, decays, radii)
        place = (np.asarray(ctx.grid.origin_xyz, dtype=np.float64), float(ctx.grid.voxel_size))
        out = _arrays(gradient, height_gradient, decay_gradient)
        pieces = -(-torch.get_num_threads() // len(positions_xyz))
        cuts = np.linspace(0, positions_xyz.shape[1], pieces + 1).astype(int)
        _run(
            gather,
            [
                (
                    *(array[row, low:high] for array in atoms),
                    cotangent[row],
                    *place,
                    *(array[row, low:high] for array in out),
                )
                for row in range(len(positions_xyz))
                for low, high in pairwise(cuts)
            ],
        )
        shapes = (height_gradient, decay_gradient) if any(ctx.needs_input_grad[1:3]) else (None, None)
        return gradient, *shapes, None, None


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _sections(positions: np.ndarray, place: tuple[np.ndarray, float], depth: int, slabs: int) -> list[int]:
    """Edges along z of slabs that hold about as many atoms each."""
    inner = np.quantile(positions[:, 2], np.linspace(0, 1, slabs + 1)[1:-1]) if len(positions) else np.zeros(slabs - 1)
    edges = np.clip(np.rint((inner - place[0][2]) / place[1]), 0, depth).astype(int).tolist()
    return [0, *edges, depth]


def _run(kernel: Callable[..., None], jobs: list[tuple[Any, ...]]) -> None:
    """Call a compiled kernel, which releases the GIL, once per job on as many threads as torch may use."""
    threads = min(torch.get_num_threads(), len(jobs))
    if threads <= 1:
        for job in jobs:
            kernel(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda job: kernel(*job), jobs))
