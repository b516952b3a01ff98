"""Complexes made up for tests: copies of made proteins put in places of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cryofound.maps.rigid_transform import RigidTransform
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, joined, residues_of
from tests.made_proteins import made_protein, random_rotation


def turn_about_z(degrees: float) -> np.ndarray:
    """(3, 3) rotation."""
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def made_ring(
    copies: int = 4, residues: int = 60, seed: int = 0, hinge_degrees: float = 0.0, names: Sequence[str] = "ABCDEFGH"
) -> AtomicModel:
    """Copies of one protein about the z axis, 40 A away from it."""
    protein = made_protein(residues, seed, hinge_degrees)
    places = [RigidTransform(turn_about_z(360 / copies * number), np.zeros(3)) for number in range(copies)]
    return joined(
        [
            named(protein.moved(place.apply(protein.positions_xyz + [40.0, 5.0, 0.0])), name)
            for place, name in zip(places, names, strict=False)
        ]
    )


def named(chain: AtomicModel, name: str) -> AtomicModel:
    """The chain under another name."""
    return replace(chain, chain_id=np.array([name] * chain.n_residues))


def elsewhere(model: AtomicModel, seed: int) -> AtomicModel:
    """The model turned and moved at random."""
    motion = RigidTransform(random_rotation(seed), np.array([50.0, -20.0, 8.0]) * seed)
    return model.moved(motion.apply(model.positions_xyz))


def reordered(model: AtomicModel, names: Sequence[str], called: Mapping[str, str] | None = None) -> AtomicModel:
    """The named chains in that order, under the names they are to have."""
    rows = chain_rows(model)
    return joined([named(residues_of(model, rows[name]), (called or {}).get(name, name)) for name in names])
