"""How much of a true motion an ensemble has: the part of the molecule that moves, seen from the core that does not."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cryofound.ensemble.system import System
from cryofound.evaluation.coverage import coverage
from cryofound.evaluation.metrics import (
    AT_HOME,
    Conformer,
    ScoreSplit,
    check_ensemble,
    closest_chances,
    conformers,
    state_distances,
)
from cryofound.evaluation.stereochemistry import backbone_bond_deviation, ramachandran
from cryofound.structure.alignment import MIN_CORE, rigid_core, superpose
from cryofound.structure.atomic_model import AtomicModel

MOVES = 2.0  # angstrom that the CA of a residue goes for the residue to belong to the moving part
# Fewer residues than these are a loop, of which the share recovered says nothing about the conformer.
FEWEST_MOVING = 10


@dataclass(frozen=True)
class Motion:
    """From a reference to one of its true states, in the frame of the reference.

    core, moving (residue,) bool: residues of known CA that stay and that go farther than MOVES; core_atoms,
    moving_atoms (atom,) int64: their known atoms; moving_ca (atom,) int64: of the latter the CA; fit_atoms (atom,)
    int64: the CA of the core, by which everything is superposed; truth_xyz (atom, 3) float64 angstrom.
    """

    core: np.ndarray
    moving: np.ndarray
    core_atoms: np.ndarray
    moving_atoms: np.ndarray
    moving_ca: np.ndarray
    fit_atoms: np.ndarray
    truth_xyz: np.ndarray


@dataclass(frozen=True)
class MotionScore:
    """How near an ensemble comes to one conformer of a system; angstrom over known heavy atoms.

    recall_rmsd: the closest sample, all atoms, after optimal superposition; static_rmsd: the reference. Superposed on
    the reference by the core: moving_rmsd, the sample whose moving part is closest; core_rmsd, that sample's core;
    recovered_moving, 1 - moving_rmsd / that of the reference; recovered_ca, the same over CA alone, of the sample that
    is closest by them; the four are None where fewer than FEWEST_MOVING residues move. For a pool from which n_drawn
    are chosen, all are expectations.
    """

    system_id: str
    family: str
    conformer: str
    split: ScoreSplit
    method: str
    n_moving: int
    n_drawn: int
    recall_rmsd: float
    static_rmsd: float
    core_rmsd: float | None
    moving_rmsd: float | None
    recovered_moving: float | None
    recovered_ca: float | None

    @property
    def at_home(self) -> bool:
        """Whether the conformer is the reference itself, from which nothing can be recovered."""
        return self.static_rmsd <= AT_HOME


@dataclass(frozen=True)
class SpreadScore:
    """An ensemble as a whole against all conformers of its system, and its stereochemistry.

    precision_rmsd: mean over samples of the RMSD to the nearest conformer; wasserstein: 2-Wasserstein distance between
    samples weighted by share (else equally) and conformers by population, with the RMSD (angstrom) as distance.
    bond_rms: backbone bonds against the reference's; clashscore: by physics.clashes, mean over samples;
    ramachandran_outliers: percent by cctbx, mean over samples, None where it was not asked for or cctbx is missing.
    """

    system_id: str
    family: str
    method: str
    precision_rmsd: float
    wasserstein: float
    bond_rms: float
    clashscore: float
    ramachandran_outliers: float | None


def motion_of(reference: AtomicModel, truth_xyz: np.ndarray, known: np.ndarray) -> Motion:
    """Split a molecule into core and moving part by one true state (atom, 3), known where `known` (atom,) says so.

    The state is superposed on the reference by the part that stays rigid (`rigid_core`), which decides what moves, and
    then by all that did not move. Where fewer than MIN_CORE residues stay, all is superposed by the rigid part.
    """
    ca = reference.backbone_index()[:, 1]
    residues = np.flatnonzero(known[ca])
    start, end = reference.positions_xyz[ca[residues]].astype(np.float64), truth_xyz[ca[residues]].astype(np.float64)
    rigid = rigid_core(end[None], start)
    distance = np.linalg.norm(superpose(end[rigid], start[rigid]).apply(end) - start, axis=1)
    stays = distance <= MOVES
    fit = ca[residues[stays if stays.sum() >= MIN_CORE else rigid]]
    core, moving = np.zeros((2, reference.n_residues), dtype=bool)
    core[residues[stays]], moving[residues[~stays]] = True, True
    transform = superpose(truth_xyz[fit], reference.positions_xyz[fit])
    return Motion(
        core=core,
        moving=moving,
        core_atoms=np.flatnonzero(known & core[reference.residue_index]),
        moving_atoms=np.flatnonzero(known & moving[reference.residue_index]),
        moving_ca=ca[moving],
        fit_atoms=fit,
        truth_xyz=transform.apply(np.asarray(truth_xyz, dtype=np.float64)),
    )


def part_distances(motion: Motion, reference: AtomicModel, samples_xyz: np.ndarray) -> np.ndarray:
    """RMSD (part, sample) float64 angstrom to the truth: of the core, of the moving part, of the latter's CA.

    samples_xyz (sample, atom, 3): each is superposed on the reference by the CA of the core. A part without atoms has
    distance 0.
    """
    fixed = reference.positions_xyz[motion.fit_atoms]
    parts = (motion.core_atoms, motion.moving_atoms, motion.moving_ca)
    found = np.zeros((len(parts), len(samples_xyz)))
    for number, sample in enumerate(samples_xyz):
        placed = superpose(sample[motion.fit_atoms], fixed).apply(np.asarray(sample, dtype=np.float64))
        for row, atoms in enumerate(parts):
            if len(atoms):
                found[row, number] = np.sqrt(((placed[atoms] - motion.truth_xyz[atoms]) ** 2).sum(1).mean())
    return found


def left_out_motions(system: System) -> dict[Conformer, Motion]:
    """The motion to each conformer of a system that training has not seen."""
    return {
        each: motion_of(system.reference, system.truth_xyz[each.rows[0]], system.truth_mask[each.rows[0]])
        for each in conformers(system)
        if each.split != "train"
    }


def score_motions(
    system: System,
    motions: Mapping[Conformer, Motion],
    samples_xyz: np.ndarray,
    method: str,
    n_drawn: int | None = None,
) -> list[MotionScore]:
    """One score for each conformer in `motions`.

    samples_xyz (sample, atom, 3) angstrom is an ensemble, or a pool of which `n_drawn` are chosen at random. Raises
    StructureError as `check_ensemble` does.
    """
    check_ensemble(system, samples_xyz, f"samples of {method}")
    n = min(n_drawn or len(samples_xyz), len(samples_xyz))
    chances = closest_chances(len(samples_xyz), n)
    distances = state_distances(system, samples_xyz, [each.rows[0] for each in motions])
    scores = []
    for (conformer, motion), recall in zip(motions.items(), chances @ np.sort(distances, axis=0), strict=True):
        core_rmsd = moving_rmsd = recovered = recovered_ca = None
        if motion.moving.sum() >= FEWEST_MOVING:
            core, moving, moving_ca = part_distances(motion, system.reference, samples_xyz)
            _, static, static_ca = part_distances(motion, system.reference, system.reference.positions_xyz[None])[:, 0]
            order = np.argsort(moving, kind="stable")
            moving_rmsd, core_rmsd = float(chances @ moving[order]), float(chances @ core[order])
            recovered = 1.0 - moving_rmsd / float(static)
            recovered_ca = 1.0 - float(chances @ np.sort(moving_ca)) / float(static_ca)
        scores.append(
            MotionScore(
                system_id=system.system_id,
                family=system.family,
                conformer=conformer.name,
                split=conformer.split,
                method=method,
                n_moving=int(motion.moving.sum()),
                n_drawn=n,
                recall_rmsd=float(recall),
                static_rmsd=conformer.static_rmsd,
                core_rmsd=core_rmsd,
                moving_rmsd=moving_rmsd,
                recovered_moving=recovered,
                recovered_ca=recovered_ca,
            )
        )
    return scores


def score_spread(
    system: System,
    samples_xyz: np.ndarray,
    method: str,
    *,
    official: bool = False,
    shares: np.ndarray | None = None,
) -> SpreadScore:
    """Score an ensemble (sample, atom, 3) as a whole.

    shares (sample,), which sum to 1, weigh the samples where it is compared with the populations. `official` asks cctbx
    for Ramachandran outliers. Raises StructureError as `check_ensemble` does.
    """
    check_ensemble(system, samples_xyz, f"samples of {method}")
    groups = conformers(system)
    distances = state_distances(system, samples_xyz, [group.rows[0] for group in groups])
    found = coverage(distances, np.array([group.population for group in groups]), shares)
    counts = ramachandran(system.reference, samples_xyz) if official else None
    return SpreadScore(
        system_id=system.system_id,
        family=system.family,
        method=method,
        precision_rmsd=found.precision,
        wasserstein=found.wasserstein,
        bond_rms=backbone_bond_deviation(system.reference, samples_xyz),
        clashscore=mean_clashscore(system.reference, samples_xyz),
        ramachandran_outliers=None if counts is None else float(counts.percent.mean()),
    )


def mean_clashscore(reference: AtomicModel, samples_xyz: np.ndarray) -> float:
    """Clashes over 0.4 A per 1000 atoms (`physics.clashes`), mean over samples (sample, atom, 3)."""
    import torch  # heavy; only those who measure should wait for it

    from cryofound.physics.clashes import clash_score, clash_topology

    topology = clash_topology(reference)
    # One by one: hydrogens and pairs of a large ensemble would not fit in memory together.
    scores = [clash_score(torch.from_numpy(np.asarray(each, dtype=np.float64))[None], topology) for each in samples_xyz]
    return float(torch.cat(scores).mean())
