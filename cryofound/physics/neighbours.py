"""Which spheres overlap: pairs from a cell list, in time and memory proportional to the number of spheres.

On the CPU a compiled kernel sweeps over the cells; elsewhere, and as its oracle, the same search in torch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress

import numba
import numpy as np
import torch
from torch import Tensor

# Rows of cells along x, as steps in (y, z), that together with a cell's own row visit every pair of cells once.
STEPS_YZ = ((0, 0), (1, 0), (-1, 1), (0, 1), (1, 1))
SKIN = 0.8  # angstrom by which a list of pairs looks beyond those that overlap


def overlapping_pairs(positions_xyz: Tensor, radius: Tensor, excluded: Tensor, margin: float) -> Tensor:
    """Pairs of spheres of a batch row that overlap by more than `margin` angstrom and are not excluded.

    positions_xyz (batch, site, 3) angstrom; radius (site,) angstrom; excluded (pair,) int64, sorted, first * site +
    second with first < second -> (3, pair) int64: batch row, first and second site, first < second. The order is the
    same at every call. Raises ValueError if a position is not finite.
    """
    if not bool(torch.isfinite(positions_xyz).all()):
        raise ValueError("a position is not finite; the model that made it has diverged")
    if positions_xyz.shape[1] < 2 or 2 * float(radius.max()) <= margin:
        return torch.empty(3, 0, dtype=torch.int64, device=positions_xyz.device)
    if positions_xyz.device.type == "cpu":
        return _swept_pairs(positions_xyz.detach(), radius, excluded, margin)
    return pairs_by_cells(positions_xyz.detach(), radius, excluded, margin)


def pairs_by_cells(positions_xyz: Tensor, radius: Tensor, excluded: Tensor, margin: float) -> Tensor:
    """The pairs of `overlapping_pairs`, in another order, by torch alone; for any device."""
    batch, sites, _ = positions_xyz.shape
    reach = 2 * float(radius.max()) - margin
    cell = ((positions_xyz - positions_xyz.amin(dim=(0, 1))) / reach).floor().long() + 1
    width, depth, height = (int(size) + 2 for size in cell.amax(dim=(0, 1)))  # an empty cell all around
    row = torch.arange(batch, device=cell.device)[:, None]
    key = (((row * height + cell[..., 2]) * depth + cell[..., 1]) * width + cell[..., 0]).flatten()
    key, order = key.sort(stable=True)
    xyz, place = positions_xyz.flatten(0, 1)[order], torch.arange(len(key), device=key.device)
    found = []
    for step_y, step_z in STEPS_YZ:
        shift = (step_z * depth + step_y) * width
        last = torch.searchsorted(key, key + shift + 1, right=True)
        first = torch.searchsorted(key, key + shift - 1) if shift else place + 1
        count = (last - first).clamp_min(0)
        one = place.repeat_interleave(count)
        other = torch.arange(len(one), device=key.device) - (count.cumsum(0) - count - first)[one]
        limit = radius[order[one] % sites] + radius[order[other] % sites] - margin
        near = ((xyz[one] - xyz[other]).square().sum(-1) < limit.square()) & (limit > 0)
        found.append(torch.stack([order[one[near]], order[other[near]]]))
    pairs = torch.cat(found, dim=1).sort(dim=0).values
    code = pairs[0] % sites * sites + pairs[1] % sites
    at = torch.searchsorted(excluded, code).clamp_max(max(len(excluded) - 1, 0))
    keep = excluded[at] != code if len(excluded) else torch.ones_like(code, dtype=torch.bool)
    pairs = pairs[:, keep]
    return torch.stack([pairs[0] // sites, *(pairs % sites)])


class PairList:
    """`overlapping_pairs` of the same models again and again, as they move little by little.

    It keeps, for each model, the pairs that are within `SKIN` angstrom of overlapping, and looks for them anew when a
    sphere has moved by half of that (Verlet 1967, doi:10.1103/PhysRev.159.98). One list serves one batch of models, in
    one order. Only on the CPU does it keep anything.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []  # of each model: where it was, and its pairs then

    def of(self, chosen: Sequence[bool]) -> "PairList":
        """The list of those of the models that are chosen."""
        some = PairList()
        some._kept = list(compress(self._kept, chosen))
        return some

    def overlapping(self, positions_xyz: Tensor, radius: Tensor, excluded: Tensor, margin: float) -> Tensor:
        """As `overlapping_pairs`, in another order; with the same radius, excluded and margin at every call."""
        if positions_xyz.device.type != "cpu" or not bool(torch.isfinite(positions_xyz).all()):
            return overlapping_pairs(positions_xyz, radius, excluded, margin)
        models = positions_xyz.detach().contiguous().numpy()
        if not self._kept:
            self._kept = [(np.full_like(each, np.inf), np.empty((2, 0), np.int64)) for each in models]
        sizes = _sizes(radius, margin, models.dtype)
        near = []
        for row, (model, (begun, pairs)) in enumerate(zip(models, self._kept, strict=True)):
            if _strayed(model, begun, 0.5 * SKIN):
                wide = overlapping_pairs(positions_xyz[row, None], radius, excluded, margin - SKIN)
                begun, pairs = self._kept[row] = model.copy(), np.ascontiguousarray(wide[1:].numpy())
            near.append(_still_overlapping(model, sizes, pairs))
        return _of_batch(near)


def _swept_pairs(positions_xyz: Tensor, radius: Tensor, excluded: Tensor, margin: float) -> Tensor:
    """The pairs of `overlapping_pairs` by the compiled kernel, one model per thread."""
    sites = positions_xyz.shape[1]
    models = list(positions_xyz.contiguous().numpy())
    sizes = _sizes(radius, margin, models[0].dtype)
    codes = excluded.numpy()
    start = np.searchsorted(codes, np.arange(sites + 1) * sites)

    def search(positions: np.ndarray) -> np.ndarray:
        capacity = 2 * sites
        while True:
            pairs = np.empty((2, capacity), dtype=np.int64)
            found = _sweep(positions, sizes, start, codes, pairs)
            if found <= capacity:
                return pairs[:, :found]
            capacity = found

    threads = min(torch.get_num_threads(), len(models))
    if threads <= 1:
        return _of_batch([search(positions) for positions in models])
    with ThreadPoolExecutor(threads) as pool:
        return _of_batch(list(pool.map(search, models)))


def _sizes(radius: Tensor, margin: float, dtype: np.dtype) -> np.ndarray:
    """(site,) angstrom: a pair overlaps by the margin where spheres smaller by half of it touch."""
    return radius.numpy().astype(dtype) - dtype.type(0.5 * margin)


def _of_batch(pairs: list[np.ndarray]) -> Tensor:
    """Pairs (2, pair) of each model -> (3, pair), with the batch row."""
    rows = np.repeat(np.arange(len(pairs)), [each.shape[1] for each in pairs])
    return torch.from_numpy(np.concatenate([rows[None], np.concatenate(pairs, axis=1)]))


@numba.njit(nogil=True, cache=True)
def _strayed(positions: np.ndarray, begun: np.ndarray, most: float) -> bool:
    """Whether a site (site, 3) is farther than that, angstrom, from where it was."""
    for site in range(len(positions)):
        square = 0.0
        for axis in range(3):
            square += (positions[site, axis] - begun[site, axis]) ** 2
        if square >= most * most:
            return True
    return False


@numba.njit(nogil=True, cache=True)
def _still_overlapping(positions: np.ndarray, sizes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Those of the pairs (2, pair) of one model (site, 3) that overlap."""
    near, found = np.empty_like(pairs), 0
    for number in range(pairs.shape[1]):
        first, second = pairs[0, number], pairs[1, number]
        limit = sizes[first] + sizes[second]
        square = limit * 0
        for axis in range(3):
            square += (positions[first, axis] - positions[second, axis]) ** 2
        if limit > 0 and square < limit * limit:
            near[0, found], near[1, found] = first, second
            found += 1
    return near[:, :found]


@numba.njit(nogil=True, cache=True)
def _sweep(positions: np.ndarray, sizes: np.ndarray, start: np.ndarray, excluded: np.ndarray, pairs: np.ndarray) -> int:
    """Write the pairs of spheres of one model (site, 3) that touch to pairs (2, capacity); returns how many there are.

    Sites are sorted by cell, x running fastest. As the sweep goes on, the three cells of a row that a cell looks at
    move forward only, so each row keeps one pair of fingers on the sorted list. Cells that hold nothing cost nothing.
    """
    sites = len(positions)
    reach = 2.0 * sizes.max()
    key = np.empty(sites, np.int64)
    low = np.array([positions[:, axis].min() for axis in range(3)])
    width = int((positions[:, 0].max() - low[0]) / reach) + 3
    depth = int((positions[:, 1].max() - low[1]) / reach) + 3
    for site in range(sites):
        column = int((positions[site, 0] - low[0]) / reach)
        line = int((positions[site, 1] - low[1]) / reach)
        layer = int((positions[site, 2] - low[2]) / reach)
        key[site] = (layer * depth + line) * width + column
    order = np.argsort(key, kind="mergesort")
    key = key[order]
    xyz, size = positions[order], sizes[order]
    shifts = np.array([(step_z * depth + step_y) * width for step_y, step_z in STEPS_YZ])
    firsts, lasts = np.zeros(5, np.int64), np.zeros(5, np.int64)
    found, begin = 0, 0
    while begin < sites:
        end = begin
        while end < sites and key[end] == key[begin]:
            end += 1
        for row in range(5):
            while firsts[row] < sites and key[firsts[row]] < key[begin] + shifts[row] - 1:
                firsts[row] += 1
            while lasts[row] < sites and key[lasts[row]] <= key[begin] + shifts[row] + 1:
                lasts[row] += 1
            for one in range(begin, end):
                x, y, z, own = xyz[one, 0], xyz[one, 1], xyz[one, 2], size[one]
                for other in range(one + 1 if row == 0 else firsts[row], lasts[row]):
                    limit = own + size[other]
                    dx, dy, dz = x - xyz[other, 0], y - xyz[other, 1], z - xyz[other, 2]
                    if limit > 0 and dx * dx + dy * dy + dz * dz < limit * limit:
                        first, second = min(order[one], order[other]), max(order[one], order[other])
                        code = first * sites + second
                        at = start[first]
                        while at < start[first + 1] and excluded[at] < code:
                            at += 1
                        if at == start[first + 1] or excluded[at] != code:
                            if found < pairs.shape[1]:
                                pairs[0, found] = first
                                pairs[1, found] = second
                            found += 1
        begin = end
    return found
