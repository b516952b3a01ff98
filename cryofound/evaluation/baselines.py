"""What one gets without a network: the static reference, its normal modes, and the motions of relatives carried over.

The normal-mode ensemble is the usual one: an anisotropic network of the reference's CA atoms, its lowest modes
carried to all atoms of each residue, combined with Gaussian weights of variance 1/eigenvalue, the whole scaled to a
mean RMSD from the reference (ProDy's `sampleModes`, whose own defaults are all modes handed to it, 20 as
`ANM.calcModes` finds them, and a mean RMSD of 1.0 A). A mean of 1 A could never reach a motion of several angstrom,
so the amplitude here is the middle of the 2-6 A that large conformational changes have; like the other two numbers it
was fixed before any truth was looked at and is the same for every system. Where training has seen motions of the
family, the fairest amplitude is the one that serves these best: `best_amplitude`.

The motions of relatives are displacement fields: of each residue its CA's way from the reference to a training state,
both in the family's canonical frame. A residue that the relative lacks takes the field of the nearest in sequence.
Nothing here reads the true atoms of a state that training may not see.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryofound.ensemble.system import System
from cryofound.evaluation.metrics import Conformer, conformers, expected_closest, state_distances
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.matching import matched_residues
from cryofound.structure.normal_modes import sample_modes

# A pool, of which `evaluate_system` takes the expected closest of as many as the model drew: the closest of one draw
# of 16 varies by 0.3 A from seed to seed on calmodulin, as much as what is to be compared.
NORMAL_MODE_SAMPLES = 256
NORMAL_MODES = 20
NORMAL_MODE_RMSD = 3.0
AMPLITUDES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # angstrom RMSD


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


@dataclass(frozen=True)
class Relative:
    """A system of which training knows motions, beside the one that a baseline is for.

    moved: its training conformers that are not its reference; identity: share of aligned residues that are the same;
    fields (conformer, residue, 3) float64 angstrom: their displacements, at the residues of the one it is for.
    """

    system: System
    moved: tuple[Conformer, ...]
    identity: float
    fields: np.ndarray


def relatives_of(system: System, others: Sequence[System]) -> list[Relative]:
    """The training systems of the family among `others` with their training conformers, the nearest by identity first.

    A system that is itself in training, with states left out, is its own and only relative. Conformers that are the
    reference itself are no motion and do not count; neither does a relative without any other.
    """
    if system.split == "train":
        own = [system]
    else:
        own = [each for each in others if each.family == system.family and each.split == "train"]
    found = [_relative(system, each) for each in own if each is system or each.system_id != system.system_id]
    return sorted((each for each in found if each.moved), key=lambda each: (-each.identity, each.system.system_id))


def best_amplitude(relatives: Sequence[Relative], n: int, n_modes: int, seed: int = 0) -> float:
    """Angstrom: the one of AMPLITUDES with which `n` normal-mode samples of the relatives come nearest to their states.

    The mean over relatives, and of each over its training conformers, of the expected RMSD of the closest is lowest.
    NORMAL_MODE_RMSD where there are no relatives.
    """
    if not relatives:
        return NORMAL_MODE_RMSD
    missed = np.zeros(len(AMPLITUDES))
    for relative in relatives:
        start, rows = relative.system.reference.positions_xyz, [each.rows[0] for each in relative.moved]
        unit = normal_modes_ensemble(relative.system.reference, 2 * n, n_modes, 1.0, seed) - start
        for row, amplitude in enumerate(AMPLITUDES):
            distances = state_distances(relative.system, start + amplitude * unit, rows)
            missed[row] += expected_closest(distances, n).mean()
    return AMPLITUDES[int(missed.argmin())]


def nearest_relative_ensemble(reference: AtomicModel, relatives: Sequence[Relative]) -> np.ndarray:
    """(conformer, atom, 3) float32: the reference with the motions of its nearest relative; alone where it has none."""
    return _carried(reference, relatives[0].fields) if relatives else static_ensemble(reference)


def relatives_field_ensemble(reference: AtomicModel, relatives: Sequence[Relative]) -> np.ndarray:
    """(1, atom, 3) float32: the reference with the mean motion of its relatives, each of which counts once."""
    if not relatives:
        return static_ensemble(reference)
    return _carried(reference, np.mean([each.fields.mean(0) for each in relatives], axis=0)[None])


def _relative(system: System, other: System) -> Relative:
    pairs = matched_residues(system.reference, other.reference)
    alike = system.reference.residue_type[pairs[:, 0]] == other.reference.residue_type[pairs[:, 1]]
    moved = [each for each in conformers(other) if each.split == "train" and not each.at_home]
    fields = [_field(system, other, each, pairs) for each in moved]
    return Relative(
        system=other,
        moved=tuple(moved),
        identity=float(alike.mean()),
        fields=np.array(fields).reshape(-1, system.reference.n_residues, 3),
    )


def _field(system: System, other: System, conformer: Conformer, pairs: np.ndarray) -> np.ndarray:
    """(residue, 3): the displacement of each residue of a system, from the one of another that stands for it."""
    row, ca = conformer.rows[0], other.reference.backbone_index()[:, 1]
    way = other.truth_xyz[row, ca].astype(np.float64) - other.reference.positions_xyz[ca]
    known = pairs[other.truth_mask[row, ca[pairs[:, 1]]]]
    nearest = np.abs(np.arange(system.reference.n_residues)[:, None] - known[:, 0]).argmin(1)
    return way[known[nearest, 1]]


def _carried(reference: AtomicModel, fields: np.ndarray) -> np.ndarray:
    """(field, atom, 3) float32: all atoms of a residue shifted as the fields (field, residue, 3) say."""
    return (reference.positions_xyz + fields[:, reference.residue_index]).astype(np.float32)
