"""The point group of a complex: which atoms its rotations bring onto which, found from a reference by its chains."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from cryofound.errors import StructureError
from cryofound.structure.alignment import rmsd_superposed, sequence_of, superpose
from cryofound.structure.atomic_model import ATOM_NAMES, AtomicModel
from cryofound.structure.chains import chain_rows, chains_of
from cryofound.structure.matching import TIE, copies, rows_in_copies

TOLERANCE = 2.0  # angstrom RMSD of CA between a complex and its turned self
MIN_SHARED = 3  # residues that two copies of a chain must share to be laid on each other
FAR = 1e12  # square angstrom: chains that are no copies of each other
ITERATIONS = 20
CLOSED = 1e-13
ELEMENT_ORDERS = {"T": {1, 2, 3}, "O": {1, 2, 3, 4}, "I": {1, 2, 3, 5}}

_Permutation = tuple[int, ...]  # chain number to the number of the chain that it is brought onto


@dataclass(frozen=True)
class Symmetry:
    """The operators of a point group, the identity first; together they are a group to rounding.

    rotation (operator, 3, 3) and shift (operator, 3), float64 angstrom: x -> rotation x + shift; atoms (operator, atom)
    int64: the atom that an operator brings onto each atom, -1 where its copy was not seen; rmsd: angstrom over CA, of
    the operator that fits worst.
    """

    rotation: np.ndarray
    shift: np.ndarray
    atoms: np.ndarray
    rmsd: float


def group_order(point_group: str) -> int:
    """The number of operators of C1, C2, ..., D2, ..., T, O or I."""
    fixed = {"T": 12, "O": 24, "I": 60}
    if point_group in fixed:
        return fixed[point_group]
    number = int(re.sub(r"\D", "", point_group))
    return 2 * number if point_group.startswith("D") else number


def find_symmetry(model: AtomicModel, point_group: str, tolerance: float = TOLERANCE) -> Symmetry:
    """The operators of a point group that a complex has, by chains that are copies of each other.

    One chain laid on each of its copies gives the candidates; one that brings every chain onto a copy, with an RMSD of
    at most `tolerance` angstrom over the CA of the whole, is an operator. Raises StructureError if the complex does not
    have the point group.
    """
    chains = ChainCopies(model)
    identity = chains.identity
    found = {identity: 0.0} | chains.operators()
    group = _subgroup([each for each, rmsd in found.items() if rmsd <= tolerance], point_group, found)
    if group is None:
        best = min((rmsd for each, rmsd in found.items() if each != identity), default=None)
        told = "no copies of its chains" if best is None else f"{best:.1f} A RMSD for the best turn"
        raise StructureError(
            f"chains {', '.join(chains.names)} do not have the symmetry {point_group} "
            f"within {tolerance:.1f} A ({told}); correct the symmetry or the reference, "
            "or let its copies be free"
        )
    rotation, shift, rmsd = _exact(chains, group)
    return Symmetry(rotation, shift, np.stack([chains.sources(each) for each in group]), rmsd)


class ChainCopies:
    """The chains of a model, and which residues and atoms of copies stand for each other."""

    def __init__(self, model: AtomicModel):
        self.model, self.ca = model, model.ca_xyz().astype(np.float64)
        self.names, self.rows = list(chain_rows(model)), list(chain_rows(model).values())
        self.kinds = copies([sequence_of(chain) for chain in chains_of(model).values()])
        self.stands_for = rows_in_copies(model)

    def shared(self, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
        """Residue rows of two copies that stand for each other."""
        one, other = self.rows[first], self.rows[second]
        _, rows, columns = np.intersect1d(self.stands_for[one], self.stands_for[other], return_indices=True)
        return one[rows], other[columns]

    def pairs(self, permutation: _Permutation) -> tuple[np.ndarray, np.ndarray]:
        """CA (pair, 3) of all chains and of those that they are brought onto."""
        mobile, fixed = self._rows(permutation)
        return self.ca[mobile], self.ca[fixed]

    @property
    def identity(self) -> _Permutation:
        return tuple(range(len(self.rows)))

    def operators(self) -> dict[_Permutation, float]:
        """Permutations but the identity that turn the complex onto itself, with their RMSD in angstrom."""
        return {each: rmsd for each, rmsd in self._laid(self.ca, self.ca).items() if each != self.identity}

    def orders(self) -> np.ndarray:
        """(order, atom) int64: the model's own order of atoms, and those in which its copies are told another way.

        One for every way to turn the complex onto itself, however well it fits: x[order] is the conformation x with its
        copies renamed. -1 where a copy lacks the atom.
        """
        return np.stack([self.sources(each) for each in (self.identity, *self.operators())])

    def nearest_order(self, mobile_ca: np.ndarray, fixed_ca: np.ndarray) -> np.ndarray:
        """(atom,) int64, as one of `orders`: how the copies must be told for one conformation to lie best on another.

        Both are CA (residue, 3) of the model. Its own order is kept if no other is better by TIE.
        """
        found = self._laid(mobile_ca, fixed_ca)
        mobile, fixed = (ca[rows] for ca, rows in zip((mobile_ca, fixed_ca), self._rows(self.identity), strict=True))
        found[self.identity] = rmsd_superposed(mobile, fixed) - TIE
        return self.sources(min(found, key=lambda each: (found[each], each)))

    def _laid(self, mobile_ca: np.ndarray, fixed_ca: np.ndarray) -> dict[_Permutation, float]:
        """Permutations that lay one conformation (residue, 3) on another, with their RMSD in angstrom."""
        seed = min(range(len(self.kinds)), key=lambda chain: self.kinds.count(self.kinds[chain]))
        found = {}
        for target, kind in enumerate(self.kinds):
            first, second = self.shared(seed, target)
            if kind != self.kinds[seed] or len(first) < MIN_SHARED:
                continue
            turned = superpose(mobile_ca[first], fixed_ca[second]).apply(mobile_ca)
            permutation = self._nearest(turned, fixed_ca)
            if permutation is not None:
                mobile, fixed = self._rows(permutation)
                found[permutation] = rmsd_superposed(mobile_ca[mobile], fixed_ca[fixed])
        return found

    def _rows(self, permutation: _Permutation) -> tuple[np.ndarray, np.ndarray]:
        """Residue rows (pair,) of all chains and of those that they are brought onto."""
        found = [self.shared(first, second) for first, second in enumerate(permutation)]
        mobile, fixed = (np.concatenate(rows) for rows in zip(*found, strict=True))
        return mobile, fixed

    def sources(self, permutation: _Permutation) -> np.ndarray:
        """(atom,): the atom that is brought onto each atom, -1 for none."""
        model = self.model
        if permutation == self.identity:
            return np.arange(model.n_atoms)
        chain = np.empty(model.n_residues, dtype=np.int64)
        for number, rows in enumerate(self.rows):
            chain[rows] = number
        kind = self.stands_for[model.residue_index] * len(ATOM_NAMES) + model.atom_name
        size = model.n_residues * len(ATOM_NAMES)
        own = chain[model.residue_index] * size + kind
        wanted = np.array(permutation)[chain[model.residue_index]] * size + kind
        _, source, target = np.intersect1d(wanted, own, return_indices=True)
        found = np.full(model.n_atoms, -1, dtype=np.int64)
        found[target] = source
        found[model.atom_name == ATOM_NAMES.index("OTHER")] = -1  # a name that several atoms of a residue may have
        return found

    def _nearest(self, turned: np.ndarray, fixed_ca: np.ndarray) -> _Permutation | None:
        """The copies that chains lie on, given all CA after a turn; None if some chain lies on none."""
        squares = np.full((len(self.rows), len(self.rows)), FAR)
        for first, kind in enumerate(self.kinds):
            for second, other in enumerate(self.kinds):
                if kind != other:
                    continue
                rows, columns = self.shared(first, second)
                if len(rows) >= MIN_SHARED:
                    squares[first, second] = ((turned[rows] - fixed_ca[columns]) ** 2).sum(1).mean()
        rows, columns = linear_sum_assignment(squares)
        return None if (squares[rows, columns] == FAR).any() else tuple(columns.tolist())


def _subgroup(
    operators: Sequence[_Permutation], point_group: str, rmsd: dict[_Permutation, float]
) -> list[_Permutation] | None:
    """The operators of a point group among those found, the identity first; of several such groups the best fitting."""
    order = group_order(point_group)
    if point_group in ELEMENT_ORDERS:
        candidates: Iterable[tuple[_Permutation, ...]] = [tuple(operators)]
    elif point_group.startswith("D"):
        turns = [each for each in operators if _element_order(each) == order // 2]
        flips = [each for each in operators if _element_order(each) == 2]
        candidates = ((turn, flip) for turn in turns for flip in flips)
    else:
        candidates = ((each,) for each in operators if _element_order(each) == order)
    groups = [group for each in candidates if (group := _closure(each, order)) is not None]
    if point_group in ELEMENT_ORDERS:
        wanted = ELEMENT_ORDERS[point_group]
        groups = [group for group in groups if {_element_order(each) for each in group} == wanted]
    groups = [group for group in groups if all(each in operators for each in group)]
    if not groups:
        return None
    return sorted(min(groups, key=lambda group: (max(rmsd[each] for each in group), sorted(group))))


def _closure(generators: Collection[_Permutation], order: int) -> set[_Permutation] | None:
    """The group that permutations generate, None if it has not `order` elements."""
    group = {tuple(range(len(next(iter(generators)))))}
    fresh = set(group)
    while fresh and len(group) <= order:
        fresh = {_after(one, other) for one in generators for other in fresh} - group
        group |= fresh
    return group if len(group) == order else None


def _exact(chains: ChainCopies, group: Sequence[_Permutation]) -> tuple[np.ndarray, np.ndarray, float]:
    """Rotations and shifts of operators that were fitted one by one, made a group, and the largest RMSD.

    Each rotation is replaced by the mean of all products of two that should be it, again and again (Grove, Karcher and
    Ruh 1974); the rotations' common fixed point is the nearest there is to all shifts.
    """
    numbers = {each: number for number, each in enumerate(group)}
    # products[g, h] is the number of g after h; parts[g, h] that of the operator which after h is g
    products = np.array([[numbers[_after(one, other)] for other in group] for one in group])
    parts = np.argsort(products, axis=0)
    pairs = [chains.pairs(each) for each in group]
    rotation = np.stack([superpose(mobile, fixed).rotation for mobile, fixed in pairs])
    for _ in range(ITERATIONS):
        before = rotation
        left, _, right = np.linalg.svd((rotation[parts] @ rotation[None]).mean(1))
        rotation = left @ right
        if np.abs(rotation - before).max() < CLOSED:
            break
    rotation[0] = np.eye(3)  # to the last digit
    mobile_centres, fixed_centres = (np.stack([pair[side].mean(0) for pair in pairs]) for side in (0, 1))
    shifts = fixed_centres - np.einsum("gij,gj->gi", rotation, mobile_centres)
    slopes = np.eye(3) - rotation
    centre = np.linalg.lstsq(slopes.reshape(-1, 3), shifts.reshape(-1), rcond=1e-6)[0]
    shift = slopes @ centre
    rmsd = max(
        float(np.sqrt(((mobile @ turn.T + move - fixed) ** 2).sum(1).mean()))
        for turn, move, (mobile, fixed) in zip(rotation, shift, pairs, strict=True)
    )
    return rotation, shift, rmsd


def _after(first: _Permutation, second: _Permutation) -> _Permutation:
    """The permutation `first` after `second`."""
    return tuple(first[chain] for chain in second)


def _element_order(permutation: _Permutation) -> int:
    """How often a permutation must be done to have done nothing."""
    power, times, identity = permutation, 1, tuple(range(len(permutation)))
    while power != identity:
        power, times = _after(permutation, power), times + 1
    return times
