"""Compiled kernels that add atoms to a density and gather gradients back, one model at a time.

An atom is `terms` Gaussians. On a grid each is a product of three one-dimensional factors, so a voxel costs one
multiply-add per Gaussian. Along an axis the factors follow a recurrence from the voxel nearest to the atom, since
exp(-w (d + v)^2) = exp(-w d^2) exp(-w (2 d v + v^2)), and that ratio itself changes by exp(-2 w v^2) per voxel.
Rows along x are rounded up to whole vectors of BLOCK voxels, and their arrays lie REACH apart: a stride known at
compile time shows the compiler that they do not overlap, which makes its vector loops twice as fast.
"""

import math

import numba
import numpy as np

BLOCK = 8
REACH = 256  # most voxels that an atom may span along an axis
TERMS = (1, 5)  # numbers of Gaussians per atom that the kernels are written for


@numba.njit(nogil=True, cache=True, fastmath=True)
def _factors(first: int, count: int, centre: float, spacing: float, decays: np.ndarray, factors: np.ndarray) -> None:
    """factors[term, i] = exp(-decays[term] (x - centre)^2) at x = (first + i) spacing, i < count."""
    nearest = min(max(round(centre / spacing), first), first + count - 1)
    distance = nearest * spacing - centre
    for term in range(decays.size):
        decay = np.float64(decays[term])
        middle = math.exp(-decay * distance * distance)
        change = math.exp(-2.0 * decay * spacing * spacing)
        value, ratio = middle, math.exp(-decay * spacing * (spacing + 2.0 * distance))
        for i in range(nearest - first, count):
            factors[term, i] = value
            value *= ratio
            ratio *= change
        ratio = math.exp(-decay * spacing * (spacing - 2.0 * distance))
        value = middle * ratio
        for i in range(nearest - first - 1, -1, -1):
            ratio *= change
            factors[term, i] = value
            value *= ratio


@numba.njit(nogil=True, cache=True, fastmath=True)
def _span(centre: float, radius: float, spacing: float, low: int, high: int) -> tuple[int, int]:
    """First voxel within `radius` of `centre` and the one after the last, both within low..high."""
    return max(low, math.ceil((centre - radius) / spacing)), min(high, math.floor((centre + radius) / spacing) + 1)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _row(centre: float, radius: float, spacing: float, length: int) -> tuple[int, int]:
    """First voxel and length of an atom's rows: whole vectors, shifted to lie within the grid where they fit."""
    first, last = _span(centre, radius, spacing, 0, length)
    if first >= last:
        return 0, 0
    width = (last - first + BLOCK - 1) // BLOCK * BLOCK
    if width > length:
        return 0, length
    return min(first, length - width), width


@numba.njit(nogil=True, cache=True, fastmath=True)
def _window(
    position: np.ndarray,
    radius: float,
    decays: np.ndarray,
    shape: tuple[int, ...],
    origin: np.ndarray,
    spacing: float,
    z_low: int,
    z_high: int,
    factors: np.ndarray,
) -> tuple[int, int, int, int, int, int]:
    """Voxels that an atom reaches: x_first, x_count, y_first, y_last, z_first, z_last, all zero if there are none.

    Writes the Gaussians' factors along x, y and z, (3, term, voxel).
    """
    px, py, pz = position[0] - origin[0], position[1] - origin[1], position[2] - origin[2]
    x_first, x_count = _row(px, radius, spacing, shape[2])
    y_first, y_last = _span(py, radius, spacing, 0, shape[1])
    z_first, z_last = _span(pz, radius, spacing, z_low, z_high)
    if radius <= 0.0 or x_count == 0 or y_first >= y_last or z_first >= z_last:
        return 0, 0, 0, 0, 0, 0
    _factors(x_first, x_count, px, spacing, decays, factors[0])
    _factors(y_first, y_last - y_first, py, spacing, decays, factors[1])
    _factors(z_first, z_last - z_first, pz, spacing, decays, factors[2])
    return x_first, x_count, y_first, y_last, z_first, z_last


@numba.njit(nogil=True, cache=True, fastmath=True)
def splat(
    positions: np.ndarray,
    heights: np.ndarray,
    decays: np.ndarray,
    radii: np.ndarray,
    density: np.ndarray,
    origin: np.ndarray,
    spacing: float,
    z_low: int,
    z_high: int,
) -> None:
    """Add atoms to the sections z_low <= z < z_high of a density.

    positions (atom, 3), heights and decays (atom, term), radii (atom,) angstrom, 0 to leave an atom out; density
    (z, y, x); origin (3,) xyz and spacing angstrom. A voxel adds its atoms up in their order, however z is divided.
    """
    height, length = density.shape[1:]
    terms = heights.shape[1]
    factors = np.empty((3, terms, REACH), density.dtype)
    along, ey, ez = factors[0].reshape(-1), factors[1], factors[2]
    w = np.empty(terms, density.dtype)
    flat = density.reshape(-1)
    for atom in range(positions.shape[0]):
        radius = radii[atom]
        x_first, x_count, y_first, y_last, z_first, z_last = _window(
            positions[atom], radius, decays[atom], density.shape, origin, spacing, z_low, z_high, factors
        )
        py, pz = positions[atom, 1] - origin[1], positions[atom, 2] - origin[2]
        for z in range(z_first, z_last):
            across = math.sqrt(max(0.0, radius * radius - (z * spacing - pz) ** 2))
            row_first, row_last = _span(py, across, spacing, y_first, y_last)
            for y in range(row_first, row_last):
                for term in range(terms):
                    w[term] = heights[atom, term] * ez[term, z - z_first] * ey[term, y - y_first]
                start = (z * height + y) * length + x_first
                row = flat[start : start + x_count]
                if terms == 1:
                    w0 = w[0]
                    for i in range(row.size):
                        row[i] += w0 * along[i]
                else:
                    w0, w1, w2, w3, w4 = w[0], w[1], w[2], w[3], w[4]
                    for i in range(row.size):
                        row[i] += (
                            w0 * along[i]
                            + w1 * along[REACH + i]
                            + w2 * along[2 * REACH + i]
                            + w3 * along[3 * REACH + i]
                            + w4 * along[4 * REACH + i]
                        )


@numba.njit(nogil=True, cache=True, fastmath=True)
def gather(
    positions: np.ndarray,
    heights: np.ndarray,
    decays: np.ndarray,
    radii: np.ndarray,
    cotangent: np.ndarray,
    origin: np.ndarray,
    spacing: float,
    gradient: np.ndarray,
    height_gradient: np.ndarray,
    decay_gradient: np.ndarray,
) -> None:
    """Derivatives of sum(cotangent * density), cotangent (z, y, x), the other arguments as in `splat`.

    Writes gradient (atom, 3), and height_gradient and decay_gradient (atom, term) unless these have no rows. Sums over
    rows are kept per voxel along x until the atom is done, which leaves no reduction in the inner loop.
    """
    height, length = cotangent.shape[1:]
    terms = heights.shape[1]
    shapes = height_gradient.shape[0] > 0
    dtype = cotangent.dtype
    factors = np.empty((3, terms, REACH), dtype)
    along, ey, ez = factors[0].reshape(-1), factors[1], factors[2]
    u, w = np.empty(terms, dtype), np.empty(terms, dtype)
    # rows 0 to 2: cotangent * decay * density, bare and times the distance in y and in z; rows 3 to 7: for each term
    # cotangent * its factors along y and z; rows 8 to 12: that times the squared distance in y and z
    sums = np.empty(13 * REACH, dtype)
    flat = cotangent.reshape(-1)
    for atom in range(positions.shape[0]):
        radius = radii[atom]
        x_first, x_count, y_first, y_last, z_first, z_last = _window(
            positions[atom], radius, decays[atom], cotangent.shape, origin, spacing, 0, cotangent.shape[0], factors
        )
        px, py, pz = positions[atom, 0] - origin[0], positions[atom, 1] - origin[1], positions[atom, 2] - origin[2]
        for row_of_sums in range(13 if shapes else 3):
            sums[row_of_sums * REACH : row_of_sums * REACH + x_count] = 0.0
        for z in range(z_first, z_last):
            dz = dtype.type(z * spacing - pz)
            across = math.sqrt(max(0.0, radius * radius - (z * spacing - pz) ** 2))
            row_first, row_last = _span(py, across, spacing, y_first, y_last)
            for y in range(row_first, row_last):
                dy = dtype.type(y * spacing - py)
                for term in range(terms):
                    u[term] = ez[term, z - z_first] * ey[term, y - y_first]
                    w[term] = heights[atom, term] * decays[atom, term] * u[term]
                start = (z * height + y) * length + x_first
                row = flat[start : start + x_count]
                if terms == 1:
                    w0 = w[0]
                    for i in range(row.size):
                        value = row[i] * w0 * along[i]
                        sums[i] += value
                        sums[REACH + i] += dy * value
                        sums[2 * REACH + i] += dz * value
                else:
                    w0, w1, w2, w3, w4 = w[0], w[1], w[2], w[3], w[4]
                    for i in range(row.size):
                        value = row[i] * (
                            w0 * along[i]
                            + w1 * along[REACH + i]
                            + w2 * along[2 * REACH + i]
                            + w3 * along[3 * REACH + i]
                            + w4 * along[4 * REACH + i]
                        )
                        sums[i] += value
                        sums[REACH + i] += dy * value
                        sums[2 * REACH + i] += dz * value
                if shapes:
                    square = dy * dy + dz * dz
                    if terms == 1:
                        u0 = u[0]
                        for i in range(row.size):
                            value = row[i] * u0
                            sums[3 * REACH + i] += value
                            sums[8 * REACH + i] += square * value
                    else:
                        u0, u1, u2, u3, u4 = u[0], u[1], u[2], u[3], u[4]
                        for i in range(row.size):
                            value = row[i]
                            sums[3 * REACH + i] += u0 * value
                            sums[4 * REACH + i] += u1 * value
                            sums[5 * REACH + i] += u2 * value
                            sums[6 * REACH + i] += u3 * value
                            sums[7 * REACH + i] += u4 * value
                            value *= square
                            sums[8 * REACH + i] += u0 * value
                            sums[9 * REACH + i] += u1 * value
                            sums[10 * REACH + i] += u2 * value
                            sums[11 * REACH + i] += u3 * value
                            sums[12 * REACH + i] += u4 * value
        gx, gy, gz = dtype.type(0.0), dtype.type(0.0), dtype.type(0.0)
        for i in range(x_count):
            gx += sums[i] * dtype.type((x_first + i) * spacing - px)
            gy += sums[REACH + i]
            gz += sums[2 * REACH + i]
        gradient[atom, 0], gradient[atom, 1], gradient[atom, 2] = 2.0 * gx, 2.0 * gy, 2.0 * gz
        for term in range(terms if shapes else 0):
            bare, squared = dtype.type(0.0), dtype.type(0.0)
            for i in range(x_count):
                dx = dtype.type((x_first + i) * spacing - px)
                plain = sums[(3 + term) * REACH + i]
                bare += along[term * REACH + i] * plain
                squared += along[term * REACH + i] * (sums[(8 + term) * REACH + i] + dx * dx * plain)
            height_gradient[atom, term] = bare
            decay_gradient[atom, term] = -heights[atom, term] * squared
