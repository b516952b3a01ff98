"""Motions of a structure alone: its anisotropic network's normal modes (Atilgan et al. 2001, by ProDy)."""

import numpy as np
import prody
from scipy.linalg import eigh
from scipy.optimize import brentq

from cryofound.errors import StructureError
from cryofound.structure.alignment import rmsd_superposed, superpose
from cryofound.structure.atomic_model import AtomicModel

RIGID_MOTIONS = 6
ZERO = 1e-6

prody.confProDy(verbosity="none")


def normal_modes(model: AtomicModel, n_modes: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest non-trivial modes of the CA network (ProDy's defaults: cutoff 15 A, spring constant 1).

    Returns eigenvalues (mode,) float64 and shapes (mode, residue, 3) float64 of unit norm. A mode's sign is arbitrary;
    here the component of largest size is positive.
    """
    network = prody.ANM("reference")
    network.buildHessian(model.ca_xyz().astype(np.float64))
    available = max(3 * model.n_residues - RIGID_MOTIONS, 0)
    if n_modes > available:
        raise StructureError(f"{model.n_residues} residues have {available} normal modes, {n_modes} were asked for")
    # Solved here and not by ProDy, whose solver hands scipy an argument that newer versions have dropped.
    eigenvalues, vectors = eigh(network.getHessian(), subset_by_index=[0, RIGID_MOTIONS + n_modes - 1])
    if eigenvalues[RIGID_MOTIONS] < ZERO:
        raise StructureError(
            "parts of the model are farther apart than the network reaches (15 A); give one compact chain"
        )
    shapes = vectors[:, RIGID_MOTIONS:].T
    largest = shapes[np.arange(n_modes), np.abs(shapes).argmax(1)]
    return eigenvalues[RIGID_MOTIONS:], (shapes * np.sign(largest)[:, None]).reshape(n_modes, -1, 3)


def mode_states(model: AtomicModel, mode: int = 1, rmsd: float = 3.46) -> np.ndarray:
    """(2, atom, 3) float32 angstrom: the reference moved along mode number `mode` (from 1), forwards and backwards.

    Every atom moves with its residue's CA. Each amplitude is such that the RMSD over all atoms to the reference, after
    superposition, is `rmsd` angstrom.
    """
    shape = normal_modes(model, mode)[1][mode - 1][model.residue_index]
    ends = [_moved(model, sign * shape[None], rmsd) for sign in (1, -1)]
    return np.concatenate(ends).astype(np.float32)


def sample_modes(model: AtomicModel, n: int, n_modes: int, rmsd: float, seed: int) -> np.ndarray:
    """(n, atom, 3) float32: random combinations of the lowest `n_modes` modes, the baseline without learning.

    Amplitudes are normal with variance 1 / eigenvalue (thermal), scaled so that the samples' mean RMSD from the
    reference, after superposition, is `rmsd` angstrom; the samples lie superposed on the reference.
    """
    eigenvalues, shapes = normal_modes(model, n_modes)
    weights = np.random.default_rng(seed).standard_normal((n, n_modes)) / np.sqrt(eigenvalues)
    moves = np.einsum("nm,mrx->nrx", weights, shapes)[:, model.residue_index]
    samples = _moved(model, moves, rmsd)
    return np.stack([superpose(each, model.positions_xyz).apply(each) for each in samples]).astype(np.float32)


def _moved(model: AtomicModel, moves: np.ndarray, rmsd: float) -> np.ndarray:
    """(move, atom, 3) float64: the model after each of the moves (move, atom, 3), all of them scaled by one factor.

    The factor is such that the mean RMSD to the model, after superposition, is `rmsd` angstrom.
    """
    start = model.positions_xyz.astype(np.float64)
    unit = moves / np.sqrt((moves**2).sum(2).mean(1)).mean()

    def excess(amplitude: float) -> float:
        return float(np.mean([rmsd_superposed(start + amplitude * move, start) for move in unit])) - rmsd

    # Superposition only lessens an RMSD, so `rmsd` itself may be too small; a straight move grows without end.
    upper = 2 * rmsd
    while excess(upper) < 0:
        upper *= 2
    return start + np.asarray(brentq(excess, 0.5 * rmsd, upper, xtol=1e-6)) * unit
