"""A complex that has its point group nearly, made to have it exactly, by moving its chains and bending none."""

import numpy as np

from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows
from cryofound.structure.symmetry import Symmetry


def symmetric(model: AtomicModel, symmetry: Symmetry) -> AtomicModel:
    """The same complex with its copies exactly where the operators bring the first of them.

    The first copy of each kind is laid, as one rigid body, on the mean of all its images, and its images are the other
    copies: bonds, angles and rotamers stay those of a chain that was there, which a mean of positions would not keep.
    What a copy has and the first one lacks goes along with that copy, laid on the mean in the same way.
    """
    xyz = model.positions_xyz.astype(np.float64)
    there = symmetry.atoms >= 0
    images = np.einsum("gij,gaj->gai", symmetry.rotation, xyz[symmetry.atoms]) + symmetry.shift[:, None]
    mean = np.where(there[..., None], images, 0).sum(0) / there.sum(0)[:, None]
    chain = np.empty(model.n_residues, dtype=np.int64)
    for number, rows in enumerate(chain_rows(model).values()):
        chain[rows] = number
    chain = chain[model.residue_index]

    placed = np.empty_like(xyz)
    for number in range(chain.max() + 1):
        own = np.flatnonzero(chain == number)
        fit = own[there[:, own].all(0)]  # where copies lack something the mean is of others
        placed[own] = superpose(xyz[fit], mean[fit]).apply(xyz[own])
    done: set[int] = set()
    for number in range(chain.max() + 1):
        if number in done:
            continue
        for rotation, shift, atoms in zip(symmetry.rotation, symmetry.shift, symmetry.atoms, strict=True):
            onto = np.flatnonzero((atoms >= 0) & (chain[atoms] == number))
            if done.isdisjoint(chain[onto].tolist()):
                placed[onto] = placed[atoms[onto]] @ rotation.T + shift
                done.update(chain[onto].tolist())
    return model.moved(placed)
