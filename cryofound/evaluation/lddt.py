"""Local distance difference test: whether atoms near each other keep their distances; no superposition is needed.

Mariani et al. 2013, doi:10.1093/bioinformatics/btt473, without its checks of stereochemistry.
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy.spatial import KDTree

from cryofound.errors import StructureError

RADIUS = 15.0  # angstrom
THRESHOLDS = np.array([0.5, 1.0, 2.0, 4.0], dtype=np.float32)  # angstrom


@dataclass(frozen=True)
class Contacts:
    """Pairs of atoms of different residues within RADIUS in a target: rows (pair,) and distance (pair,) angstrom."""

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray


def contacts(target_xyz: np.ndarray, residue_index: np.ndarray) -> Contacts:
    """The distances of a target (atom, 3) angstrom that a good model keeps; residue_index (atom,).

    Raises StructureError if there are none.
    """
    target = np.asarray(target_xyz, dtype=np.float64)
    first, second = KDTree(target).query_pairs(RADIUS, output_type="ndarray").T
    apart = residue_index[first] != residue_index[second]
    first, second = first[apart], second[apart]
    if not len(first):
        raise StructureError(f"no two residues are within {RADIUS:g} A of each other, which lDDT needs; give a protein")
    # Neighbours in one list are neighbours in memory, in the order in which the sweep reads them.
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    distance = np.linalg.norm(target[first] - target[second], axis=1)
    return Contacts(first.astype(np.int32), second.astype(np.int32), distance.astype(np.float32))


def lddt(models_xyz: np.ndarray, target: Contacts) -> np.ndarray:
    """(model,) float64 from 0 to 1: share of the target's distances that each model (model, atom, 3) keeps.

    The mean over THRESHOLDS of the share of all contacts whose distance differs by no more than that.
    """
    found = np.zeros(len(models_xyz))
    models = np.ascontiguousarray(models_xyz, dtype=np.float32)
    _kept(models, target.first, target.second, target.distance, THRESHOLDS, found)
    return found / (len(THRESHOLDS) * len(target.distance))


@numba.njit(nogil=True, cache=True)
def _kept(
    models: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    distance: np.ndarray,
    thresholds: np.ndarray,
    found: np.ndarray,
) -> None:
    """Count, for each model, contacts and thresholds that hold."""
    low, middle, high, highest = thresholds
    for row in range(len(models)):
        model = models[row]
        count = 0
        for pair in range(len(first)):
            one, other = first[pair], second[pair]
            x = model[one, 0] - model[other, 0]
            y = model[one, 1] - model[other, 1]
            z = model[one, 2] - model[other, 2]
            change = abs(np.sqrt(x * x + y * y + z * z) - distance[pair])
            count += (change <= low) + (change <= middle) + (change <= high) + (change <= highest)
        found[row] = count
