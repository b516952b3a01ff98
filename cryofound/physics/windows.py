"""The forward model in plain torch operations, for any device: the window of voxels around each atom, in chunks."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from cryofound.maps.density_map import Grid

# voxels of all windows that are held at once
CHUNK = {"cpu": 2**22, "cuda": 2**26}


class WindowSplat(torch.autograd.Function):
    """Density of a batch, and its gradients in positions, heights and decays, by hand.

    positions_xyz (batch, atom, 3) angstrom; heights, decays (batch, atom, term); radii (batch, atom) angstrom, 0 to
    leave an atom out -> (batch, z, y, x). Memory: atoms, voxels and one chunk of windows. On CUDA the order of
    additions, and so the last digit, differs from run to run.
    """

    @staticmethod
    def forward(ctx: Any, positions_xyz: Tensor, heights: Tensor, decays: Tensor, radii: Tensor, grid: Grid) -> Tensor:
        ctx.save_for_backward(positions_xyz, heights, decays, radii)
        ctx.grid = grid
        density = positions_xyz.new_zeros(len(positions_xyz) * math.prod(grid.shape_zyx))
        for rows in _chunks(radii, grid):
            window = _Window(positions_xyz, decays, radii, rows, grid)
            z, y, x = window.factors
            values = torch.einsum("atz,aty,atx->azyx", z * _take(heights, rows)[..., None], y, x)
            density.index_add_(0, window.index.flatten(), (values * window.inside).flatten())
        return density.view(len(positions_xyz), *grid.shape_zyx)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        positions_xyz, heights, decays, radii = ctx.saved_tensors
        cotangent = grad_outputs[0].flatten()
        gradient = torch.zeros_like(positions_xyz).flatten(0, 1)
        height_gradient, decay_gradient = (
            torch.zeros_like(heights).flatten(0, 1),
            torch.zeros_like(decays).flatten(0, 1),
        )
        for rows in _chunks(radii, ctx.grid):
            window = _Window(positions_xyz, decays, radii, rows, ctx.grid)
            values = cotangent[window.index] * window.inside
            # moments of the cotangent under each Gaussian: bare, times each distance, times its square
            z, y, x = window.factors
            dz, dy, dx = (distance[:, None] for distance in window.distances)
            over_x = torch.einsum("azyx,atsx->astzy", values, torch.stack([x, x * dx, x * dx * dx], dim=2))
            bare, first_x, second_x = over_x.unbind(1)
            plain = torch.einsum("atzy,atz,aty->at", bare, z, y)
            first = torch.stack(
                [
                    torch.einsum("atzy,atz,aty->at", first_x, z, y),
                    torch.einsum("atzy,atz,aty->at", bare, z, y * dy),
                    torch.einsum("atzy,atz,aty->at", bare, z * dz, y),
                ],
                dim=-1,
            )
            second = (
                torch.einsum("atzy,atz,aty->at", second_x, z, y)
                + torch.einsum("atzy,atz,aty->at", bare, z, y * dy * dy)
                + torch.einsum("atzy,atz,aty->at", bare, z * dz * dz, y)
            )
            height, decay = _take(heights, rows), _take(decays, rows)
            gradient[rows] = (2 * (height * decay)[..., None] * first).sum(1)
            height_gradient[rows] = plain
            decay_gradient[rows] = -height * second
        return (
            gradient.view_as(positions_xyz),
            height_gradient.view_as(heights),
            decay_gradient.view_as(decays),
            None,
            None,
        )


class _Window:
    """Voxels around some atoms: flat `index` into the batch of grids and `inside` (atom, z, y, x), the Gaussians'
    `factors` (atom, term, voxel) and the `distances` (atom, voxel) from the atom in angstrom, both along z, y and x."""

    def __init__(self, positions_xyz: Tensor, decays: Tensor, radii: Tensor, rows: Tensor, grid: Grid):
        position, decay, radius = _take(positions_xyz, rows), _take(decays, rows), radii.flatten()[rows]
        reach = int(torch.ceil(radius.max() / grid.voxel_size))
        model = rows // positions_xyz.shape[1]
        places, factors, distances, kept = [], [], [], []
        for axis, size in zip((2, 1, 0), grid.shape_zyx, strict=True):
            centre = (position[:, axis] - grid.origin_xyz[axis]) / grid.voxel_size
            place = _places(centre, reach, size)
            distance = (place - centre[:, None]) * grid.voxel_size
            factors.append(torch.exp(-decay[..., None] * distance[:, None].square()))
            places.append(place.clamp(0, size - 1))
            kept.append((place >= 0) & (place < size))
            distances.append(distance)
        z, y, x = places
        depth, height, length = grid.shape_zyx
        row = ((model[:, None] * depth + z)[:, :, None] * height + y[:, None])[..., None] * length
        self.index = row + x[:, None, None]
        square = sum(
            distance.square().view(len(rows), *(-1 if other == axis else 1 for other in range(3)))
            for axis, distance in enumerate(distances)
        )
        within = square <= radius.square()[:, None, None, None]
        self.inside = kept[0][:, :, None, None] & kept[1][:, None, :, None] & kept[2][:, None, None] & within
        self.factors, self.distances = factors, distances


def _places(centre: Tensor, reach: int, size: int) -> Tensor:
    """(atom, voxel) voxels of one axis within `reach` of each atom: the whole axis where that is less."""
    if 2 * reach + 1 >= size:
        return torch.arange(size, device=centre.device).expand(len(centre), size)
    return centre.round().long()[:, None] + torch.arange(-reach, reach + 1, device=centre.device)


def _take(values: Tensor, rows: Tensor) -> Tensor:
    return values.flatten(0, 1)[rows]


def _chunks(radii: Tensor, grid: Grid) -> Iterator[Tensor]:
    """Rows of (batch * atom) in chunks of like radius, so that one wide atom does not widen the windows of all."""
    order = torch.argsort(radii.flatten(), stable=True)
    order = order[radii.flatten()[order] > 0]
    sorted_radii = radii.flatten()[order].cpu()
    budget = CHUNK.get(radii.device.type, CHUNK["cpu"])
    last = len(order)
    while last > 0:
        width = 2 * int(torch.ceil(sorted_radii[last - 1] / grid.voxel_size)) + 1
        first = max(0, last - max(1, budget // math.prod(min(width, size) for size in grid.shape_zyx)))
        yield order[first:last]
        last = first
