"""RMSD of many conformations to many targets at once (Kabsch 1976, doi:10.1107/S0567739476001873)."""

import numpy as np


def superposed_rmsd(mobile_xyz: np.ndarray, target_xyz: np.ndarray) -> np.ndarray:
    """(mobile, target) float64: RMSD in angstrom of every mobile conformation on every target after superposition.

    mobile_xyz (mobile, atom, 3) and target_xyz (target, atom, 3), angstrom, the same atoms in the same order. The
    rotation itself is never built: the residual follows from the singular values of the covariance alone.
    """
    mobile = _centred(mobile_xyz)
    target = _centred(target_xyz)
    singular, handedness = _covariance_spectrum(mobile, target)
    overlap = singular[..., 0] + singular[..., 1] + handedness * singular[..., 2]
    squares = (mobile**2).sum((1, 2))[:, None] + (target**2).sum((1, 2))[None, :] - 2 * overlap
    # Equal conformations leave a rounding residue of either sign; a negative one is a distance of zero.
    return np.sqrt(np.maximum(squares, 0) / mobile.shape[1])


def _centred(conformations_xyz: np.ndarray) -> np.ndarray:
    conformations = np.asarray(conformations_xyz, dtype=np.float64)
    return conformations - conformations.mean(1, keepdims=True)


def _covariance_spectrum(mobile: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values (mobile, target, 3) and sign of the determinant (mobile, target) of all 3 x 3 covariances."""
    n_mobile, n_atoms, _ = mobile.shape
    rows = mobile.transpose(0, 2, 1).reshape(n_mobile * 3, n_atoms)
    columns = target.transpose(1, 0, 2).reshape(n_atoms, -1)
    covariance = (rows @ columns).reshape(n_mobile, 3, len(target), 3).transpose(0, 2, 1, 3)
    singular = np.linalg.svd(covariance, compute_uv=False)
    return singular, np.where(np.linalg.det(covariance) < 0, -1.0, 1.0)
