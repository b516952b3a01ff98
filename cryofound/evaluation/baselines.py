"""What one gets without training: the static reference, and random motions along its normal modes.

The normal-mode ensemble is the usual one: an anisotropic network of the reference's CA atoms, its lowest modes
carried to all atoms of each residue, combined with Gaussian weights of variance 1/eigenvalue, the whole scaled to a
mean RMSD from the reference (ProDy's `sampleModes`, whose own defaults are all modes handed to it, 20 as
`ANM.calcModes` finds them, and a mean RMSD of 1.0 A). A mean of 1 A could never reach a motion of several angstrom,
so the amplitude here is the middle of the 2-6 A that large conformational changes have; like the other two numbers it
was fixed before any truth was looked at and is the same for every system.
"""

import numpy as np

from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.normal_modes import sample_modes

# A pool, of which `evaluate_system` takes the expected closest of as many as the model drew: the closest of one draw
# of 16 varies by 0.3 A from seed to seed on calmodulin, as much as what is to be compared.
NORMAL_MODE_SAMPLES = 256
NORMAL_MODES = 20
NORMAL_MODE_RMSD = 3.0


def static_ensemble(reference: AtomicModel) -> np.ndarray:
    """(1, atom, 3) float32: the reference alone, which is the ensemble of someone who does not model motion."""
    return np.array(reference.positions_xyz[None], dtype=np.float32)


def normal_modes_ensemble(
    reference: AtomicModel,
    n: int = NORMAL_MODE_SAMPLES,
    n_modes: int = NORMAL_MODES,
    rmsd: float = NORMAL_MODE_RMSD,
    seed: int = 0,
) -> np.ndarray:
    """(n, atom, 3) float32 angstrom: random combinations of the `n_modes` lowest modes, mean RMSD `rmsd` angstrom."""
    # No network has more than 3 N - 6 internal modes; a short chain gives what it has.
    return sample_modes(reference, n, min(n_modes, 3 * reference.n_residues - 6), rmsd, seed)
