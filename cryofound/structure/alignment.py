"""Which residues of two proteins correspond, and how one lies on the other."""

from dataclasses import dataclass

import numpy as np
from biotite.sequence import ProteinSequence
from biotite.sequence.align import SubstitutionMatrix
from biotite.sequence.align.pairwise import align_optimal

from cryofound.maps.rigid_transform import RigidTransform
from cryofound.structure.atomic_model import ONE_LETTER, AtomicModel

GAP_PENALTY = (-11, -1)  # opening, extending: NCBI's for BLOSUM62
OUTLIER_FACTOR = 2.0
CORE_FLOOR = 1.0
MIN_CORE = 10
CORE_WINDOW = 30
CORE_ITERATIONS = 50


def sequence_of(model: AtomicModel) -> str:
    """One-letter sequence of the residues that have atoms, X where the type is unknown."""
    return "".join(ONE_LETTER[kind] for kind in model.residue_type)


def align_sequences(first: str, second: str) -> np.ndarray:
    """(pair, 2) rows of matched residues of two one-letter sequences, increasing in both."""
    return scored_alignment(first, second)[0]


def scored_alignment(first: str, second: str) -> tuple[np.ndarray, int]:
    """(pair, 2) rows of matched residues of two one-letter sequences, increasing in both, and the alignment's score.

    Global alignment with BLOSUM62 and free end gaps (Needleman and Wunsch; Gotoh for affine gaps).
    """
    matrix = SubstitutionMatrix.std_protein_matrix()
    best = align_optimal(
        ProteinSequence(first), ProteinSequence(second), matrix, gap_penalty=GAP_PENALTY,
        terminal_penalty=False, max_number=1,
    )[0]  # fmt: skip
    return best.trace[(best.trace >= 0).all(1)], int(best.score)


def matched_atoms(first: AtomicModel, second: AtomicModel, pairs: np.ndarray) -> np.ndarray:
    """(pair, 2) atom rows: atoms of the same name in matched residues (residue rows `pairs`), in order of the first."""
    partner = dict(pairs.tolist())
    rows = {
        key: row for row, key in enumerate(zip(second.residue_index.tolist(), second.atom_name.tolist(), strict=True))
    }
    found = [
        (row, rows[partner[residue], name])
        for row, (residue, name) in enumerate(zip(first.residue_index.tolist(), first.atom_name.tolist(), strict=True))
        if residue in partner and (partner[residue], name) in rows
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def superpose(mobile_xyz: np.ndarray, fixed_xyz: np.ndarray) -> RigidTransform:
    """The transform that brings mobile (atom, 3) closest to fixed (atom, 3).

    Kabsch 1976, doi:10.1107/S0567739476001873.
    """
    mobile, fixed = np.asarray(mobile_xyz, dtype=np.float64), np.asarray(fixed_xyz, dtype=np.float64)
    mobile_centre, fixed_centre = mobile.mean(0), fixed.mean(0)
    rotation = best_rotation((mobile - mobile_centre).T @ (fixed - fixed_centre))
    return RigidTransform(rotation, fixed_centre - rotation @ mobile_centre)


def best_rotation(covariance: np.ndarray) -> np.ndarray:
    """(..., 3, 3): rotations that bring mobile points closest to fixed ones, by covariances (..., mobile, fixed)."""
    left, _, right = np.linalg.svd(covariance)
    # A mirror image is not a motion: the weakest axis is turned back.
    left[..., 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[..., None]
    return np.swapaxes(left @ right, -1, -2)


def rmsd_superposed(mobile_xyz: np.ndarray, fixed_xyz: np.ndarray) -> float:
    """RMSD in angstrom of two conformations (atom, 3) after superposition of all their atoms."""
    moved = superpose(mobile_xyz, fixed_xyz).apply(mobile_xyz)
    return float(np.sqrt(((moved - fixed_xyz) ** 2).sum(1).mean()))


@dataclass(frozen=True)
class CoreFit:
    """A superposition by the part that does not move; core (atom,) bool says which part that was."""

    transform: RigidTransform
    core: np.ndarray


def superpose_core(mobile_xyz: np.ndarray, fixed_xyz: np.ndarray) -> CoreFit:
    """Superpose (atom, 3) on (atom, 3), leaving out, again and again, what lies far off, until the choice is stable.

    Atoms farther apart than OUTLIER_FACTOR times the median distance (at least CORE_FLOOR angstrom) are left out of the
    next fit; never more than half, so that the core is always the larger part.
    """
    core = np.ones(len(mobile_xyz), dtype=bool)
    transform = superpose(mobile_xyz, fixed_xyz)
    for _ in range(CORE_ITERATIONS):
        distance = np.linalg.norm(transform.apply(mobile_xyz) - fixed_xyz, axis=1)
        chosen = distance <= max(OUTLIER_FACTOR * float(np.median(distance)), CORE_FLOOR)
        transform = superpose(mobile_xyz[chosen], fixed_xyz[chosen])
        if (chosen == core).all():
            break
        core = chosen
    return CoreFit(transform, core)


def rigid_core(states_xyz: np.ndarray, fixed_xyz: np.ndarray, alike: np.ndarray | None = None) -> np.ndarray:
    """(atom,) bool: the largest part of `fixed` (atom, 3) that stays rigid in all of the states (state, atom, 3).

    Least trimmed squares: from every window of CORE_WINDOW consecutive atoms as a start, superpose by the chosen atoms
    and choose the half that deviates least, until the choice is stable; the best half wins, and what deviates no more
    than OUTLIER_FACTOR times as much (at least CORE_FLOOR angstrom) joins it. `alike` (atom,) has one number for the
    atoms that stand for each other in copies of a chain: they are chosen together, by their mean deviation, because a
    core on one side of a symmetric complex would tilt its symmetric motion.
    """
    fixed = np.asarray(fixed_xyz, dtype=np.float64)
    _, first, alike = np.unique(
        np.arange(len(fixed)) if alike is None else alike, return_index=True, return_inverse=True
    )
    half = max(len(fixed) // 2, min(MIN_CORE, len(fixed)))
    best: tuple[float, np.ndarray] | None = None
    for start in range(0, max(len(fixed) - CORE_WINDOW, 0) + 1, CORE_WINDOW // 3):
        if first[alike[start]] < start:
            continue  # a copy of a window that was there before
        chosen = np.flatnonzero(np.isin(alike, alike[start : start + CORE_WINDOW]))
        deviation = _deviation(states_xyz, fixed, chosen, alike)
        for _ in range(CORE_ITERATIONS):
            closest = np.sort(np.argsort(deviation, kind="stable")[:half])
            if np.array_equal(closest, chosen):
                break
            chosen = closest
            deviation = _deviation(states_xyz, fixed, chosen, alike)
        spread = float(np.sqrt((np.sort(deviation)[:half] ** 2).mean()))
        if best is None or spread < best[0]:
            best = spread, deviation
    assert best is not None  # there is always a first window
    spread, deviation = best
    return deviation <= max(OUTLIER_FACTOR * spread, CORE_FLOOR)


def _deviation(states_xyz: np.ndarray, fixed_xyz: np.ndarray, chosen: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """(atom,) root mean square distance over states superposed by the chosen atoms, and over atoms that are alike."""
    squares = [
        ((superpose(state[chosen], fixed_xyz[chosen]).apply(state) - fixed_xyz) ** 2).sum(1) for state in states_xyz
    ]
    pooled = np.bincount(alike, np.mean(squares, axis=0)) / np.bincount(alike)
    return np.sqrt(pooled[alike])


def family_positions(pairs: np.ndarray, residues: int) -> np.ndarray:
    """(residue,) float32: where each residue falls in the anchor's sequence.

    pairs (pair, 2) are (anchor residue, residue) rows. Inserts lie between their neighbours, tails run on by one each.
    """
    anchor, own = pairs[:, 0].astype(np.float64), pairs[:, 1]
    rows = np.arange(residues)
    position = np.interp(rows, own, anchor)
    before, behind = rows < own[0], rows > own[-1]
    position[before] = anchor[0] - (own[0] - rows[before])
    position[behind] = anchor[-1] + (rows[behind] - own[-1])
    return position.astype(np.float32)


def sequence_mismatch(stated: str, model: AtomicModel) -> str | None:
    """What is wrong with a stated one-letter sequence, None if the model's residues occur in it in order.

    Residues that the experiment did not see may be missing from the model; X on either side matches anything.
    """
    for position, letter in enumerate(stated, start=1):
        if letter not in ONE_LETTER:
            return f"letter '{letter}' at position {position} is no amino acid"
    seen = sequence_of(model)
    rest = iter(stated)
    if all(any(_same(letter, other) for other in rest) for letter in seen):
        return None
    matched = dict(align_sequences(seen, stated).tolist())
    for row, letter in enumerate(seen):
        found = f"the structure's residue {model.residue_number[row]} is {letter}"
        if row not in matched:
            return f"{found} and is not in the stated sequence"
        if not _same(letter, stated[matched[row]]):
            return f"position {matched[row] + 1} is {stated[matched[row]]}, {found}"
    return f"the structure has {len(seen)} residues in another order than the stated {len(stated)}"


def _same(first: str, second: str) -> bool:
    return first == second or "X" in (first, second)
