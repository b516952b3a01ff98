"""RMSD of many conformations to many targets at once (Kabsch 1976, doi:10.1107/S0567739476001873)."""

import numpy as np

from cryofound.structure.alignment import best_rotation


def superposed_rmsd(mobile_xyz: np.ndarray, target_xyz: np.ndarray, core: np.ndarray | None = None) -> np.ndarray:
    """(mobile, target) float64: RMSD in angstrom of every mobile conformation on every target after superposition.

    mobile_xyz (mobile, atom, 3) and target_xyz (target, atom, 3), angstrom, the same atoms in the same order, which are
    superposed by all of them or by `core` (atom,) bool. By all, the rotation itself is never built: the residual
    follows from the singular values of the covariance alone.
    """
    mobile, target = _centred(mobile_xyz, core), _centred(target_xyz, core)
    covariance = _covariance(mobile, target)
    if core is None:
        singular = np.linalg.svd(covariance, compute_uv=False)
        singular[..., 2] *= np.where(np.linalg.det(covariance) < 0, -1.0, 1.0)
        overlap = singular.sum(-1)
    else:
        rotation = best_rotation(_covariance(mobile[:, core], target[:, core]))
        overlap = np.einsum("mtij,mtji->mt", rotation, covariance)
    squares = (mobile**2).sum((1, 2))[:, None] + (target**2).sum((1, 2))[None, :] - 2 * overlap
    # Equal conformations leave a rounding residue of either sign; a negative one is a distance of zero.
    return np.sqrt(np.maximum(squares, 0) / mobile.shape[1])


def superposed(mobile_xyz: np.ndarray, target_xyz: np.ndarray, core: np.ndarray | None = None) -> np.ndarray:
    """(mobile, atom, 3) float64: every mobile conformation laid on one target (atom, 3), by all atoms or by `core`."""
    mobile, target = _centred(mobile_xyz, core), np.asarray(target_xyz, dtype=np.float64)
    chosen = slice(None) if core is None else core
    centre = target[chosen].mean(0)
    rotation = best_rotation(np.einsum("mai,aj->mij", mobile[:, chosen], target[chosen] - centre))
    return mobile @ np.swapaxes(rotation, 1, 2) + centre


def _centred(conformations_xyz: np.ndarray, core: np.ndarray | None) -> np.ndarray:
    conformations = np.asarray(conformations_xyz, dtype=np.float64)
    return conformations - conformations[:, slice(None) if core is None else core].mean(1, keepdims=True)


def _covariance(mobile: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(mobile, target, 3, 3) of all conformations with all."""
    n_mobile, n_atoms, _ = mobile.shape
    rows = mobile.transpose(0, 2, 1).reshape(n_mobile * 3, n_atoms)
    columns = target.transpose(1, 0, 2).reshape(n_atoms, -1)
    return (rows @ columns).reshape(n_mobile, 3, len(target), 3).transpose(0, 2, 1, 3)
