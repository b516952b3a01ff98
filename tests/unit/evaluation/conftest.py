"""Peptides built from ideal geometry and systems over them: truths that need no file."""

from collections.abc import Callable

import numpy as np
import pytest

from cryofound.ensemble.system import State, System
from cryofound.maps.density_map import Grid
from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel


def place(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: float) -> np.ndarray:
    """The fourth atom: `length` from c, `angle` b-c-d and `torsion` a-b-c-d in degrees."""
    angle, torsion = np.radians(angle), np.radians(torsion)
    axis = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, axis)
    normal /= np.linalg.norm(normal)
    local = length * np.array([-np.cos(angle), np.sin(angle) * np.cos(torsion), np.sin(angle) * np.sin(torsion)])
    return c + local @ np.stack([axis, np.cross(normal, axis), normal])


def build_peptide(n_residues: int, phi: float, psi: float, residue: str = "ALA") -> AtomicModel:
    """A chain of N, CA, C, O with the Engh-Huber lengths and angles and the same phi and psi everywhere."""
    n = np.array([0.0, 0.0, 0.0])
    ca = np.array([1.458, 0.0, 0.0])
    c = place(np.array([0.0, 1.0, 0.0]), n, ca, 1.525, 111.0, -60.0)
    atoms = []
    for _ in range(n_residues):
        atoms += [n, ca, c, place(n, ca, c, 1.231, 120.1, psi + 180.0)]
        n_next = place(n, ca, c, 1.329, 117.2, psi)
        ca_next = place(ca, c, n_next, 1.458, 121.7, 180.0)
        c_next = place(c, n_next, ca_next, 1.525, 111.0, phi)
        n, ca, c = n_next, ca_next, c_next
    names = ("N", "CA", "C", "O")
    return AtomicModel(
        positions_xyz=np.array(atoms, dtype=np.float32),
        atom_name=np.tile([ATOM_NAMES.index(name) for name in names], n_residues),
        element=np.tile([ELEMENTS.index(name[0]) for name in names], n_residues),
        residue_index=np.repeat(np.arange(n_residues), 4),
        residue_type=np.full(n_residues, RESIDUE_TYPES.index(residue)),
        residue_number=np.arange(1, n_residues + 1),
        chain_id=np.full(n_residues, "A"),
    )


def build_system(
    reference: AtomicModel, truth_xyz: np.ndarray, truth_mask: np.ndarray | None = None, split: str = "train"
) -> System:
    """A system over `reference` with the states `truth_xyz` (state, atom, 3), named a, b, c ..."""
    return System(
        system_id="peptide",
        family="peptides",
        split=split,  # type: ignore[arg-type]  # a plain str from the tests' parameters
        reference=reference,
        family_position=np.arange(reference.n_residues, dtype=np.float32),
        states=tuple(
            State(chr(97 + row), 1.0, 8.0, "train" if row % 2 == 0 else "validation") for row in range(len(truth_xyz))
        ),
        truth_xyz=np.asarray(truth_xyz, dtype=np.float32),
        truth_mask=np.ones(truth_xyz.shape[:2], dtype=bool) if truth_mask is None else truth_mask,
        grid=Grid.centred(32, 2.0),
    )


@pytest.fixture(scope="session")
def peptide() -> Callable[..., AtomicModel]:
    return build_peptide


@pytest.fixture(scope="session")
def make_system() -> Callable[..., System]:
    return build_system


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def turn(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Move every conformation (conformation, atom, 3) by its own random rotation and shift."""

    def moved(conformations_xyz: np.ndarray) -> np.ndarray:
        bases = np.linalg.qr(rng.normal(size=(len(conformations_xyz), 3, 3)))[0]
        bases[:, :, 0] *= np.linalg.det(bases)[:, None]
        return conformations_xyz @ bases + rng.normal(scale=30.0, size=(len(conformations_xyz), 1, 3))

    return moved
