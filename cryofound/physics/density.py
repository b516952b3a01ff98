"""Forward model, Gaussian form: heavy atoms to density, differentiable in the positions.

One Gaussian per heavy atom, amplitude Z, sigma = resolution / (sqrt(2) pi) (CryoSampler, arXiv 2605.09832).
On the CPU a compiled kernel visits only the voxels within CUTOFF sigmas of each atom; the gradient is written by hand.
On other devices, and as the oracle in tests, `render_gaussian_dense` evaluates the same sum over every voxel.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from cryofound.maps.density_map import Grid

CUTOFF = 4.5  # sigmas along each axis; exp(-4.5**2 / 2) = 4e-5 of an atom's peak is the largest value left out


def gaussian_sigma(resolution: float) -> float:
    """Width in angstrom of one atom at a resolution in angstrom."""
    return resolution / (math.sqrt(2.0) * math.pi)


def render_gaussian(positions_xyz: Tensor, amplitudes: Tensor, grid: Grid, resolution: float) -> Tensor:
    """Density of each model of a batch.

    positions_xyz (batch, atom, 3) angstrom; amplitudes (batch, atom), 0 for padding; returns (batch, z, y, x).
    Differentiable in positions_xyz. Atoms outside the grid contribute what reaches into it.
    """
    if positions_xyz.device.type == "cpu":
        return _Splat.apply(positions_xyz, amplitudes, grid, gaussian_sigma(resolution))
    return render_gaussian_dense(positions_xyz, amplitudes, grid, resolution)


def render_gaussian_dense(positions_xyz: Tensor, amplitudes: Tensor, grid: Grid, resolution: float) -> Tensor:
    """The same density as `render_gaussian` without a cut-off, by plain autograd, on any device."""
    sigma = gaussian_sigma(resolution)
    axes = []
    for axis, size in zip((2, 1, 0), grid.shape_zyx, strict=True):
        voxels = torch.arange(size, dtype=positions_xyz.dtype, device=positions_xyz.device) * grid.voxel_size
        distance = positions_xyz[:, :, axis, None] - (voxels + grid.origin_xyz[axis])
        axes.append(torch.exp(-0.5 * (distance / sigma) ** 2))
    z, y, x = axes
    return torch.einsum("baz,bay,bax->bzyx", z * amplitudes[..., None], y, x)


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions_xyz: Tensor, amplitudes: Tensor, grid: Grid, sigma: float) -> Tensor:
        ctx.save_for_backward(positions_xyz, amplitudes)
        ctx.geometry = (np.asarray(grid.origin_xyz, dtype=np.float64), float(grid.voxel_size), float(sigma))
        density = torch.zeros(len(positions_xyz), *grid.shape_zyx, dtype=positions_xyz.dtype)
        _each_model(_splat_model, positions_xyz, amplitudes, density, ctx.geometry)
        return density

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        positions_xyz, amplitudes = ctx.saved_tensors
        gradient = torch.zeros_like(positions_xyz)
        _each_model(_gather_model, positions_xyz, amplitudes, grad_outputs[0].contiguous(), ctx.geometry, gradient)
        return gradient, None, None, None


def _each_model(
    kernel: Callable[..., None],
    positions_xyz: Tensor,
    amplitudes: Tensor,
    density: Tensor,
    geometry: tuple[np.ndarray, float, float],
    *more: Tensor,
) -> None:
    """Run a compiled kernel once per model, on as many threads as torch may use (the kernels release the GIL).

    geometry: origin_xyz and voxel size in angstrom, sigma in angstrom.
    """
    arrays = [tensor.detach().contiguous().numpy() for tensor in (positions_xyz, amplitudes.to(positions_xyz.dtype))]
    arrays += [tensor.detach().numpy() for tensor in (density, *more)]
    jobs = [tuple(array[row] for array in arrays) for row in range(len(positions_xyz))]
    threads = min(torch.get_num_threads(), len(jobs))
    if threads <= 1:
        for job in jobs:
            kernel(*job, *geometry)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda job: kernel(*job, *geometry), jobs))


@numba.njit(nogil=True, cache=True, fastmath=True)
def _axis_window(
    centre: float, size: int, voxel_size: float, sigma: float, weights: np.ndarray, offsets: np.ndarray
) -> tuple[int, int]:
    """Weights and signed distances (angstrom) of the voxels of one axis near an atom; returns (first, count)."""
    reach = CUTOFF * sigma
    first = max(0, math.ceil((centre - reach) / voxel_size))
    last = min(size - 1, math.floor((centre + reach) / voxel_size))
    for voxel in range(first, last + 1):
        distance = voxel * voxel_size - centre
        weights[voxel - first] = math.exp(-0.5 * (distance / sigma) ** 2)
        offsets[voxel - first] = distance
    return first, last - first + 1


@numba.njit(nogil=True, cache=True, fastmath=True)
def _splat_model(
    positions: np.ndarray,
    amplitudes: np.ndarray,
    density: np.ndarray,
    origin: np.ndarray,
    voxel_size: float,
    sigma: float,
) -> None:
    """Add the Gaussians of one model (atom, 3) to its density (z, y, x)."""
    width = int(2.0 * CUTOFF * sigma / voxel_size) + 2
    wx, wy, wz = (np.empty(width, density.dtype), np.empty(width, density.dtype), np.empty(width, density.dtype))
    offsets = np.empty(width, density.dtype)
    depth, height, length = density.shape
    for atom in range(positions.shape[0]):
        if amplitudes[atom] == 0.0:
            continue
        x0, nx = _axis_window(positions[atom, 0] - origin[0], length, voxel_size, sigma, wx, offsets)
        y0, ny = _axis_window(positions[atom, 1] - origin[1], height, voxel_size, sigma, wy, offsets)
        z0, nz = _axis_window(positions[atom, 2] - origin[2], depth, voxel_size, sigma, wz, offsets)
        for k in range(nz):
            for j in range(ny):
                factor = amplitudes[atom] * wz[k] * wy[j]
                row = density[z0 + k, y0 + j]
                for i in range(nx):
                    row[x0 + i] += factor * wx[i]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _gather_model(
    positions: np.ndarray,
    amplitudes: np.ndarray,
    cotangent: np.ndarray,
    gradient: np.ndarray,
    origin: np.ndarray,
    voxel_size: float,
    sigma: float,
) -> None:
    """Write to gradient (atom, 3) the derivative of sum(cotangent * density), cotangent (z, y, x)."""
    width = int(2.0 * CUTOFF * sigma / voxel_size) + 2
    wx, wy, wz = (np.empty(width, gradient.dtype), np.empty(width, gradient.dtype), np.empty(width, gradient.dtype))
    dx, dy, dz = (np.empty(width, gradient.dtype), np.empty(width, gradient.dtype), np.empty(width, gradient.dtype))
    depth, height, length = cotangent.shape
    for atom in range(positions.shape[0]):
        if amplitudes[atom] == 0.0:
            continue
        x0, nx = _axis_window(positions[atom, 0] - origin[0], length, voxel_size, sigma, wx, dx)
        y0, ny = _axis_window(positions[atom, 1] - origin[1], height, voxel_size, sigma, wy, dy)
        z0, nz = _axis_window(positions[atom, 2] - origin[2], depth, voxel_size, sigma, wz, dz)
        gx, gy, gz = 0.0, 0.0, 0.0
        for k in range(nz):
            for j in range(ny):
                row = cotangent[z0 + k, y0 + j]
                plain, moment = 0.0, 0.0
                for i in range(nx):
                    value = row[x0 + i] * wx[i]
                    plain += value
                    moment += value * dx[i]
                weight = wz[k] * wy[j]
                gx += weight * moment
                gy += weight * dy[j] * plain
                gz += weight * dz[k] * plain
        scale = amplitudes[atom] / (sigma * sigma)
        gradient[atom, 0] = scale * gx
        gradient[atom, 1] = scale * gy
        gradient[atom, 2] = scale * gz
