"""Groups of residues that lie where the map has no such thing are looked for elsewhere: what no descent finds.

A domain that turns by a right angle passes by places where it fits worse than at either end. So a group that fits much
worse than the others is docked anew, over all orientations, into the density that the others leave unexplained.
"""

import numpy as np

from cryofound.building.fitting import Subject, misfit
from cryofound.building.target import Target
from cryofound.maps.density_map import DensityMap
from cryofound.maps.masks import zone_mask
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.poses import body_of, distinct, levels_of, searched
from cryofound.reference.rigid_fit import solvent_at_zero
from cryofound.structure.chains import residues_of

FEWEST = 50  # residues that can be told from others by their shape
GROUP = 100  # residues of a group, at least, in the mean
LOST = 0.65  # of the median correlation of the other groups with the map, below which a group is looked for
REACH = 5.0  # angstrom about atoms within which a group is compared with the map
EXPLAINED = 2.0  # angstrom about atoms that are not lost, within which density is theirs
LONGEST = 30.0  # angstrom between the CA of neighbours of which one went elsewhere: what is between them follows later
TORN = 5.0  # angstrom between the CA of neighbours from which on they are torn apart
STRETCHED = 8  # residues on each side that share the way between them
BETTER = 1.2  # times its own correlation that a group must have in its new place, where it must not be lost either


def relocated(positions_xyz: np.ndarray, what: Subject, target: Target) -> np.ndarray | None:
    """Positions (atom, 3) with the groups that were lost in their new places, or None if none was, or none was found.

    Every group has its reference's shape in its new place; neighbours may be torn apart, which `fit_motion` mends.
    """
    group = _groups(what)
    members = [np.flatnonzero(group == each) for each in range(int(group.max()) + 1)]
    fits = np.array([_correlation(positions_xyz, what, target, rows) for rows in members])
    wanted = [LOST * float(np.median(np.delete(fits, each))) if len(fits) > 1 else 0.0 for each in range(len(fits))]
    lost = [each for each in np.argsort(fits) if fits[each] < wanted[each] and len(members[each]) >= FEWEST]
    if not lost:
        return None
    found = np.array(positions_xyz)
    placed = ~np.isin(group, lost)
    for each in lost:
        least = max(BETTER * fits[each], wanted[each])
        transform = _searched(found, what, target, members[each], placed, float(least))
        if transform is not None:
            atoms = np.isin(what.reference.residue_index, members[each])
            found[atoms] = transform.apply(what.reference.positions_xyz[atoms])
            placed[members[each]] = True
    return None if np.array_equal(found, positions_xyz) else _mended(found, what)


def _mended(positions_xyz: np.ndarray, what: Subject) -> np.ndarray:
    """Where neighbours along a chain are torn apart, the residues on both sides share the way between them."""
    model = what.reference
    ca = model.backbone_index()[:, 1]
    bonds = [xyz[ca][1:] - xyz[ca][:-1] for xyz in (positions_xyz, model.positions_xyz)]
    lengths = [np.linalg.norm(each, axis=1) for each in bonds]
    torn = (model.chain_id[1:] == model.chain_id[:-1]) & (lengths[0] > TORN) & (lengths[1] < TORN)
    shift = np.zeros((model.n_residues, 3))
    for row in np.flatnonzero(torn):
        gap = bonds[0][row] * (1 - lengths[1][row] / lengths[0][row])
        for step in range(STRETCHED):
            share = 0.5 * (1 - step / STRETCHED)
            for residue, sign in ((row - step, 1), (row + 1 + step, -1)):
                if 0 <= residue < model.n_residues and model.chain_id[residue] == model.chain_id[row]:
                    shift[residue] += sign * share * gap
    return (positions_xyz + shift[model.residue_index]).astype(np.float32)


def _groups(what: Subject) -> np.ndarray:
    """(residue,) group of the finest level of the subject's parts whose groups are large enough; all one if none is."""
    levels = [share for share in what.parts.shares if share.shape[1] * GROUP <= what.reference.n_residues]
    if not levels:
        return np.zeros(what.reference.n_residues, dtype=np.int64)
    return max(levels, key=lambda share: share.shape[1]).argmax(1).numpy()


def _correlation(positions_xyz: np.ndarray, what: Subject, target: Target, rows: np.ndarray) -> float:
    atoms = np.isin(what.reference.residue_index, rows)
    return 1 - misfit(positions_xyz, what, target.within(positions_xyz[atoms], REACH))


def _searched(
    positions_xyz: np.ndarray, what: Subject, target: Target, rows: np.ndarray, placed: np.ndarray, least: float
) -> RigidTransform | None:
    """Where the residues `rows` of the reference lie best in what the placed residues (residue,) leave unexplained."""
    reference = what.reference
    theirs = positions_xyz[placed[reference.residue_index]]
    density = solvent_at_zero(DensityMap(target.density.numpy(), target.grid))
    free = target.counts.numpy() & ~zone_mask(target.grid, theirs, max(EXPLAINED, target.resolution / 2))
    rest = DensityMap(np.where(free, density.values_zyx, np.float32(0)), target.grid)
    body = body_of(residues_of(reference, rows))
    levels = levels_of(body, rest, target.resolution)
    for pose in distinct(body, levels[-1], searched(body, levels)):
        if pose.score >= least and _holds(positions_xyz, what, rows, placed, pose.transform):
            return pose.transform
    return None


def _holds(
    positions_xyz: np.ndarray, what: Subject, rows: np.ndarray, placed: np.ndarray, transform: RigidTransform
) -> bool:
    """Whether no neighbours along a chain are farther apart than what is between them can mend."""
    model = what.reference
    ca = model.backbone_index()[:, 1]
    inside = np.isin(np.arange(model.n_residues), rows)
    xyz = np.where(inside[:, None], transform.apply(model.positions_xyz[ca]), positions_xyz[ca])
    border = (model.chain_id[1:] == model.chain_id[:-1]) & (
        (inside[1:] & placed[:-1] & ~inside[:-1]) | (inside[:-1] & placed[1:] & ~inside[1:])
    )
    return bool((np.linalg.norm(xyz[1:] - xyz[:-1], axis=1)[border] < LONGEST).all())
