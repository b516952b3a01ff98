"""A model moved as one body to the nearest best fit, by the forward model's gradient."""

import math

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from cryofound.errors import MapError
from cryofound.maps.boxes import cut_box
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.filters import low_pass
from cryofound.maps.masks import voxels_zyx, zone_mask
from cryofound.maps.resampling import fourier_resample
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.physics.correlation import ncc
from cryofound.physics.density import render_gaussian
from cryofound.reference.rotations import rotation_from_vector

ROUNDS = 4
STEPS = 40  # of one round
GAIN = 1e-6  # in correlation: a step that gains less is the last
GRADIENT = 1e-5  # in correlation per angstrom, likewise
VOXELS = 3  # per resolution
SMALLEST = 12  # voxels along each edge of a filtered map
SETTLED = 0.1  # of the resolution; a round that moves the model less is the last


def fit(
    positions_xyz: np.ndarray, weights: np.ndarray, density: DensityMap, resolution: float, start: RigidTransform
) -> tuple[RigidTransform, float]:
    """The rigid motion near `start` that correlates best with the map, and its `zone_ncc`.

    positions_xyz (point, 3) angstrom before `start`, weights (point,), drawn at `resolution`, to which `density` is
    filtered. The correlation is taken within two resolutions of the points as they lie at the beginning of a round;
    rounds follow until one moves the model little.
    """
    transform = start
    for _ in range(ROUNDS):
        motion, moved_by = _climb(transform.apply(positions_xyz), weights, density, resolution)
        transform = motion.after(transform)
        if moved_by < SETTLED * resolution:
            break
    return transform, zone_ncc(transform.apply(positions_xyz), weights, density, resolution)


def _climb(
    positions_xyz: np.ndarray, weights: np.ndarray, density: DensityMap, resolution: float
) -> tuple[RigidTransform, float]:
    """One round by L-BFGS: a turn about the points' centre and a shift, and the largest of the six steps in angstrom.

    The three numbers of the turn are in angstrom as well, at the radius of gyration, so that all six are alike.
    """
    near = window(density, positions_xyz, 3 * resolution)
    zone = torch.from_numpy(np.flatnonzero(zone_mask(near.grid, positions_xyz, 2 * resolution)))
    target = torch.from_numpy(near.values_zyx).reshape(1, 1, 1, -1)[..., zone]
    centre = positions_xyz.mean(0)
    arms, middle = torch.from_numpy(positions_xyz - centre), torch.from_numpy(centre)
    amplitudes = torch.from_numpy(np.asarray(weights, dtype=np.float32))[None]
    radius = float(arms.square().sum(1).mean().sqrt())

    def loss(steps: np.ndarray) -> tuple[float, np.ndarray]:
        six = torch.from_numpy(steps).requires_grad_()
        placed = arms @ rotation_from_vector(six[:3] / radius).T + middle + six[3:]
        drawn = render_gaussian(placed.float()[None], amplitudes, near.grid, resolution)
        value = 1 - ncc(drawn.reshape(1, 1, 1, -1)[..., zone], target)[0]
        (gradient,) = torch.autograd.grad(value, six)
        return value.item(), gradient.numpy()

    options = {"maxiter": STEPS, "ftol": GAIN, "gtol": GRADIENT}
    steps = minimize(loss, np.zeros(6), jac=True, method="L-BFGS-B", options=options).x
    turn = rotation_from_vector(torch.from_numpy(steps[:3] / radius)).numpy()
    return RigidTransform(turn, centre + steps[3:] - turn @ centre), float(np.abs(steps).max())


def zone_ncc(positions_xyz: np.ndarray, weights: np.ndarray, density: DensityMap, resolution: float) -> float:
    """Pearson correlation of map and drawn points (point, 3) over the voxels within `resolution` angstrom of a point.

    What lies outside the map counts as zero density, so that a model gains nothing by sticking out; the map's own zero
    should be its solvent (`solvent_at_zero`). A constant map correlates 0.
    """
    near = window(density, positions_xyz, resolution)
    zone = zone_mask(near.grid, positions_xyz, resolution)
    drawn, found = draw(positions_xyz, weights, near.grid, resolution)[zone], near.values_zyx[zone]
    return float(ncc(_row(drawn), _row(found))[0])


def _row(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values)[None, None, None]


def draw(positions_xyz: np.ndarray, weights: np.ndarray, grid: Grid, resolution: float) -> np.ndarray:
    """(z, y, x) float32: points (point, 3) with weights (point,) on a grid, one Gaussian each."""
    points = torch.from_numpy(np.asarray(positions_xyz, dtype=np.float32))[None]
    amplitudes = torch.from_numpy(np.asarray(weights, dtype=np.float32))[None]
    return render_gaussian(points, amplitudes, grid, resolution)[0].numpy()


def window(density: DensityMap, positions_xyz: np.ndarray, margin: float) -> DensityMap:
    """The box of the map about positions (point, 3), `margin` angstrom wider on each side, zero outside the map."""
    voxels, reach = voxels_zyx(density.grid, positions_xyz), margin / density.grid.voxel_size
    start = np.floor(voxels.min(0) - reach).astype(int)
    z, y, x = start.tolist()
    depth, height, length = (np.ceil(voxels.max(0) + reach).astype(int) - start + 1).tolist()
    return cut_box(density, (z, y, x), (depth, height, length))


def solvent_at_zero(density: DensityMap) -> DensityMap:
    """The map less the median of its six outer faces; raises MapError if it is constant."""
    values = density.values_zyx
    if values.min() == values.max():
        raise MapError(f"the map is constant ({values.flat[0]:g}); nothing can be registered into it")
    faces = [np.moveaxis(values, axis, 0)[[0, -1]].ravel() for axis in range(3)]
    return DensityMap(values - np.float32(np.median(np.concatenate(faces))), density.grid)


def filtered(density: DensityMap, own: float, resolution: float) -> DensityMap:
    """A map of resolution `own` at the same or a coarser one, on voxels of about a third of that or its own, if larger.

    What the forward model draws at `own` becomes what it draws at `resolution`, as both are Gaussians.
    """
    if resolution > own:
        density = low_pass(density, math.sqrt(resolution**2 - own**2))
    smallest = min(density.grid.shape_zyx) * density.grid.voxel_size
    wanted = min(resolution / VOXELS, smallest / SMALLEST)
    return fourier_resample(density, wanted) if wanted > 1.2 * density.grid.voxel_size else density
