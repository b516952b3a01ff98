"""A path through the states of a series: residues go as rigid bodies, and every frame has sound stereochemistry."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from cryofound.building.fitting import Subject
from cryofound.config import StereochemistryConfig
from cryofound.physics.stereochemistry import stereochemistry_loss

FRAMES = 8  # between two states
DESCENT = 60


def morph(states_xyz: Sequence[np.ndarray], what: Subject, frames: int = FRAMES) -> np.ndarray:
    """(frame, atom, 3): the states (atom, 3) in their order with `frames` between each two."""
    path = [states_xyz[0]]
    for first, second in pairwise(states_xyz):
        between = [_between(first, second, what, (k + 1) / (frames + 1)) for k in range(frames)]
        path += [_relaxed(each, what) for each in between] + [second]
    return np.stack(path).astype(np.float32)


def _between(first: np.ndarray, second: np.ndarray, what: Subject, part: float) -> np.ndarray:
    """Each residue turned and shifted a part of its way about its CA, what bends in it by a straight line."""
    reference = what.reference
    residue, backbone = reference.residue_index, reference.backbone_index()[:, :3]
    ca = backbone[:, 1]
    frames = [_frames(xyz[backbone]) for xyz in (first, second)]
    turn = Rotation.from_matrix(frames[1] @ frames[0].transpose(0, 2, 1)).as_rotvec()
    there = Rotation.from_rotvec(part * turn).as_matrix()
    back = Rotation.from_rotvec((part - 1) * turn).as_matrix()
    arm_a, arm_b = first - first[ca][residue], second - second[ca][residue]
    moved = (1 - part) * np.einsum("aij,aj->ai", there[residue], arm_a) + part * np.einsum(
        "aij,aj->ai", back[residue], arm_b
    )
    return ((1 - part) * first[ca] + part * second[ca])[residue] + moved


def _frames(backbone_xyz: np.ndarray) -> np.ndarray:
    """(residue, 3, 3) rotation whose columns are the axes of N, CA, C (residue, 3, 3)."""
    n, ca, c = backbone_xyz.astype(np.float64).transpose(1, 0, 2)
    x = (c - ca) / np.linalg.norm(c - ca, axis=1, keepdims=True)
    y = n - ca - ((n - ca) * x).sum(1, keepdims=True) * x
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=2)


def _relaxed(positions_xyz: np.ndarray, what: Subject) -> np.ndarray:
    positions = torch.from_numpy(np.ascontiguousarray(positions_xyz, dtype=np.float32)).requires_grad_()
    optimizer = torch.optim.Adam([positions], lr=0.03, betas=(0.9, 0.99))
    for step in range(DESCENT):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / DESCENT)
        loss = stereochemistry_loss(positions[None], what.tables, StereochemistryConfig())[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return positions.detach().numpy()
