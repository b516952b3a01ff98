"""Proteins made up for tests: right names and connectivity, a compact fold, a hinge in the middle."""

import numpy as np

from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, AtomicModel

NAMES = ("N", "CA", "C", "O", "CB")
GLY = 7


def made_protein(residues: int = 80, seed: int = 0, hinge_degrees: float = 0.0) -> AtomicModel:
    """A chain wound up in two lobes, turned against each other about its middle; the sequence is random.

    The same residues and seed give the same sequence and the same lobes at any angle.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 20, residues)
    half = residues // 2
    ca = np.concatenate([_coil(half), _coil(residues - half) + [24.0, 0.0, 0.0]])
    frames = rng.standard_normal((residues, len(NAMES), 3))
    frames = 1.5 * frames / np.linalg.norm(frames, axis=-1, keepdims=True)
    frames[:, 1] = 0
    xyz = ca[:, None] + frames
    angle = np.radians(hinge_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    middle = np.array([12.0, 0.0, 0.0])
    xyz[half:] = (xyz[half:] - middle) @ turn.T + middle
    has = np.ones((residues, len(NAMES)), dtype=bool)
    has[kinds == GLY, 4] = False
    index = np.repeat(np.arange(residues)[:, None], len(NAMES), 1)
    names = np.array([ATOM_NAMES.index(name) for name in NAMES])
    elements = np.array([ELEMENTS.index(name[0]) for name in NAMES])
    return AtomicModel(
        positions_xyz=xyz[has].astype(np.float32),
        atom_name=np.broadcast_to(names, has.shape)[has],
        element=np.broadcast_to(elements, has.shape)[has],
        residue_index=index[has],
        residue_type=kinds,
        residue_number=np.arange(1, residues + 1),
        chain_id=np.array(["A"] * residues),
    )


def _coil(residues: int) -> np.ndarray:
    """(residue, 3) points about 3.8 A apart on a coil of 7 A radius."""
    turn = 3.6 / 7.0 * np.arange(residues)
    return np.stack([7 * np.cos(turn), 7 * np.sin(turn), 0.7 * np.arange(residues) - 0.35 * residues], axis=1)


def random_rotation(seed: int) -> np.ndarray:
    """(3, 3) proper rotation."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))
