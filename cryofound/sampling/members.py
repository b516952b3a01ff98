"""What a model remembers of its training systems: by them a newcomer finds its family and its motion is judged."""

from dataclasses import dataclass

import numpy as np

from cryofound.ensemble.system import Outline


@dataclass(frozen=True)
class Member:
    """One training system, in the canonical frame of its family, without its maps and without any truth.

    displacements (state, atom, 3) float32, angstrom: the motion from the reference that the VAE decodes at the mean
    latent of each training state, in the order of `outline.states`, which has only those. residual (width,) float32:
    its row of the VAE's residuals. anchor: whether `family_position` counts the residues of this system. core
    (residue,) bool: the part by which the family is superposed, `placement/core` of the store.
    """

    outline: Outline
    displacements: np.ndarray
    residual: np.ndarray
    anchor: bool
    core: np.ndarray
