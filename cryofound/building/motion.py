"""A model moved by groups of its residues and by its residues, each a rigid body: how a fit of many angstrom is told.

Coarse things first: halves of a protein find their density from much farther away than its residues do one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from cryofound.models.atom_field import rotated
from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.groups import group_shares

FEWEST_PER_GROUP = 4  # residues, in the mean of a level
TURN = 0.05  # radians for one unit of a group's rotation: its ends are far from its middle
RESIDUE_TURN = 0.1


@dataclass(frozen=True)
class Bodies:
    """Which atoms move together: residue (atom,) row of each atom's residue, ca (residue,) row of its CA, and for each
    level shares (residue, group), summing to one over the groups."""

    residue: Tensor
    ca: Tensor
    shares: tuple[Tensor, ...]

    def at_rest(self) -> "Motion":
        """No motion, ready to be optimised."""
        sizes = [share.shape[1] for share in self.shares]
        groups = [torch.zeros(size, 6, requires_grad=True) for size in sizes]
        return Motion(groups, torch.zeros(len(self.ca), 6, requires_grad=True))


@dataclass(frozen=True)
class Motion:
    """Shift (angstrom) and rotation vector (in TURN, RESIDUE_TURN radians): of groups (group, 6), residues."""

    groups: list[Tensor]
    residues: Tensor


def bodies(model: AtomicModel, levels: Sequence[int], domain: np.ndarray | None = None) -> Bodies:
    """The bodies of a model: its chains if there are several, its domains (residue,) if given, then `levels`.

    Every level but the chains' is smoothed, so that neighbours across a border stay neighbours (groups.py). Levels of
    too small groups are left out; residues of no domain (negative) belong to the nearest one.
    """
    ca_xyz = model.ca_xyz()
    shares = []
    chains = list(dict.fromkeys(model.chain_id.tolist()))
    if len(chains) > 1:
        shares.append(np.stack([model.chain_id == chain for chain in chains], axis=1).astype(np.float32))
    if domain is not None and domain.max(initial=-1) > 0:
        known = np.flatnonzero(domain >= 0)
        nearest = known[((ca_xyz[:, None] - ca_xyz[None, known]) ** 2).sum(-1).argmin(1)]
        shares.append(np.eye(int(domain.max()) + 1, dtype=np.float32)[domain[nearest]])
    kept = [level for level in levels if level * FEWEST_PER_GROUP <= model.n_residues]
    if kept:
        shares += np.split(group_shares(ca_xyz, kept), np.cumsum(kept)[:-1], axis=1)
    return Bodies(
        torch.from_numpy(model.residue_index),
        torch.from_numpy(model.backbone_index()[:, 1]),
        tuple(torch.from_numpy(np.ascontiguousarray(share)) for share in shares),
    )


def moved(start_xyz: Tensor, parts: Bodies, motion: Motion) -> Tensor:
    """Positions (atom, 3) after the residues, then the groups from the smallest to the largest have moved.

    A residue is carried by its groups according to its shares (linear blend skinning, Magnenat-Thalmann 1988).
    """
    shift, turn = motion.residues.chunk(2, dim=1)
    place = start_xyz[parts.ca]
    arm = start_xyz - place[parts.residue]
    arm = rotated(arm, RESIDUE_TURN * turn[parts.residue])
    place = place + shift
    axes = torch.eye(3, dtype=start_xyz.dtype)
    for share, group in zip(reversed(parts.shares), reversed(motion.groups), strict=True):
        shift, turn = group.chunk(2, dim=1)
        centre = (share / share.sum(0).clamp_min(1e-6)).T @ place
        # row i of each matrix: what the turn adds to axis i
        change = rotated(axes.expand(len(group), 3, 3), TURN * turn[:, None]) - axes
        blended = (share @ change.flatten(1)).unflatten(1, (3, 3))
        about = shift - (centre[:, None] @ change)[:, 0]
        place = place + (place[:, None] @ blended)[:, 0] + share @ about
        arm = arm + (arm[:, None] @ blended[parts.residue])[:, 0]
    return place[parts.residue] + arm


def carried(points_xyz: np.ndarray, before_xyz: np.ndarray, after_xyz: np.ndarray, nearest: int = 24) -> np.ndarray:
    """Points (point, 3) carried along by the atoms about them, as one rigid body: angstrom.

    before_xyz, after_xyz (atom, 3) the same atoms in both places; the `nearest` of them to any of the points, by
    least squares (Kabsch 1976). For what a model has beside its residues: a ligand, a glycan, an ion.
    """
    distance, rows = cKDTree(before_xyz).query(points_xyz, k=min(nearest, len(before_xyz)))
    order = np.argsort(distance.ravel(), kind="stable")
    chosen = np.array(list(dict.fromkeys(np.asarray(rows).ravel()[order].tolist()))[:nearest])
    return superpose(before_xyz[chosen], after_xyz[chosen]).apply(points_xyz)
