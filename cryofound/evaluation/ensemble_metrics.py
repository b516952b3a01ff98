"""Ensembles against the states that they ought to reach: distances, how well they cover them, and fluctuations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryofound.errors import StructureError
from cryofound.evaluation.coverage import coverage
from cryofound.evaluation.fluctuation import agreement, fluctuations
from cryofound.evaluation.lddt import Contacts, contacts, lddt
from cryofound.evaluation.metrics import FEWEST_ATOMS
from cryofound.evaluation.sample_file import Samples, same_atoms
from cryofound.evaluation.superposition import superposed_rmsd
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.symmetry import ChainCopies

# Pairs grow with the square of the samples; of a larger ensemble as many, evenly spaced, stand for all.
MOST_PAIRED = 100
QUANTITIES = ("rmsd", "ca_rmsd", "lddt", "ca_lddt")


@dataclass(frozen=True)
class TargetState:
    """A true state: positions_xyz (known, 3) float32 angstrom of those atoms of the ensembles' model (`atoms`, rows)
    that it has; residues: how many of the model it has; population need not sum to 1 with the others'.
    """

    name: str
    atoms: np.ndarray
    positions_xyz: np.ndarray
    residues: int
    population: float = 1.0


@dataclass(frozen=True)
class Frame:
    """What is compared how: orders (order, atom), in which copies of chains may be told (`ChainCopies.orders`), and the
    residues (residue,) bool by whose CA all is superposed, None for all atoms that are compared.
    """

    model: AtomicModel
    orders: np.ndarray
    core: np.ndarray | None = None

    @classmethod
    def of(cls, model: AtomicModel, core: np.ndarray | None = None) -> "Frame":
        return cls(model, ChainCopies(model).orders(), core)

    @property
    def is_ca(self) -> np.ndarray:
        """(atom,) bool."""
        found = np.zeros(self.model.n_atoms, dtype=bool)
        found[self.model.backbone_index()[:, 1]] = True
        return found

    @property
    def core_atoms(self) -> np.ndarray | None:
        """(atom,) bool: CA of the core."""
        return None if self.core is None else self.is_ca & self.core[self.model.residue_index]


@dataclass(frozen=True)
class EnsembleScore:
    """One ensemble: distances to the states (sample, state) and between samples (paired, paired), by QUANTITIES, RMSD
    in angstrom and lDDT from 0 to 1; names of those paired; rmsf (residue,) float64 angstrom, of CA.
    """

    samples: Samples
    to_states: dict[str, np.ndarray]
    paired: tuple[str, ...]
    pairs: dict[str, np.ndarray]
    rmsf: np.ndarray


def target_state(model: AtomicModel, state: AtomicModel, name: str, population: float = 1.0) -> TargetState:
    """A state as far as it is the ensembles' protein: residues matched by sequence, atoms by name, chains as they lie.

    Raises StructureError, `name` first, if the sequences are not related.
    """
    atoms, their_atoms = same_atoms(model, state, name).T
    residues = len(np.unique(model.residue_index[atoms]))
    return TargetState(name, atoms, state.positions_xyz[their_atoms], residues, population)


def score_ensemble(samples: Samples, states: Sequence[TargetState], frame: Frame) -> EnsembleScore:
    """Every distance of one ensemble; raises StructureError if a state knows fewer than three CA of the core."""
    paired, positions_xyz = samples.spread(MOST_PAIRED)
    return EnsembleScore(
        samples=samples,
        to_states=distances_to_states(samples, states, frame),
        paired=paired,
        pairs=distances_between(positions_xyz, frame),
        rmsf=sample_fluctuations(samples, frame, _fitted(states, frame)),
    )


def distances_to_states(samples: Samples, states: Sequence[TargetState], frame: Frame) -> dict[str, np.ndarray]:
    """(sample, state) float64 for each of QUANTITIES, over each state's own atoms; of all orders of copies the best."""
    found = {name: np.zeros((len(samples), len(states))) for name in QUANTITIES}
    compared = [_Compared.of(frame, each.atoms, each.positions_xyz, each.name) for each in states]
    start = 0
    for chunk in samples.chunks():
        rows = slice(start, start + len(chunk))
        for column, each in enumerate(compared):
            for name, values in each.distances(chunk).items():
                found[name][rows, column] = values
        start += len(chunk)
    return found


def distances_between(conformations_xyz: np.ndarray, frame: Frame) -> dict[str, np.ndarray]:
    """(conformation, conformation) float64, symmetric, for each of QUANTITIES; for lDDT the earlier is the target."""
    size = len(conformations_xyz)
    found = {name: np.zeros((size, size)) + ("lddt" in name) for name in QUANTITIES}
    atoms = np.arange(frame.model.n_atoms)
    for row in range(size - 1):
        compared = _Compared.of(frame, atoms, conformations_xyz[row], f"sample {row + 1}")
        for name, values in compared.distances(conformations_xyz[row + 1 :]).items():
            found[name][row, row + 1 :] = found[name][row + 1 :, row] = values
    return found


def sample_fluctuations(samples: Samples, frame: Frame, fitted: np.ndarray | None) -> np.ndarray:
    """(residue,) float64 angstrom: RMSF of CA, superposed by those of the residues `fitted` (residue,) bool or all."""
    ca = frame.model.backbone_index()[:, 1]
    return fluctuations(lambda: (chunk[:, ca] for chunk in samples.chunks()), frame.model.ca_xyz(), fitted)


def state_fluctuations(states: Sequence[TargetState], frame: Frame) -> tuple[np.ndarray, np.ndarray] | None:
    """RMSF of CA (known,) over the states, weighted by population, and the residues (known,) that all of them have.

    None for fewer than two states or three residues.
    """
    known = _known_to_all(states, frame)
    if len(states) < 2 or known.sum() < FEWEST_ATOMS:
        return None
    residues = np.flatnonzero(known)
    ca = frame.model.backbone_index()[residues, 1]
    stacked = np.stack([each.positions_xyz[np.searchsorted(each.atoms, ca)] for each in states])
    core = None if frame.core is None else frame.core[residues]
    weights = np.array([each.population for each in states])
    return fluctuations(lambda: [stacked], frame.model.ca_xyz()[residues], core, weights), residues


def state_metrics(score: EnsembleScore, states: Sequence[TargetState], frame: Frame) -> dict[str, float]:
    """What `score` comes to, by name: precision, recall and diversity of each of QUANTITIES, Wasserstein, RMSF.

    The diversity of lDDT is the mean over pairs of samples of 1 - lDDT. What a single sample or state cannot tell is
    left out.
    """
    found = {"samples": float(len(score.samples)), "rmsf_mean": float(score.rmsf.mean())}
    populations = np.array([each.population for each in states])
    upper = np.triu_indices(len(score.paired), k=1)
    for name in QUANTITIES:
        alike = "lddt" in name
        if len(upper[0]):
            between = score.pairs[name][upper]
            found[f"{name}_diversity"] = float((1 - between if alike else between).mean())
        if states:
            distances = score.to_states[name]
            covered = coverage(1 - distances if alike else distances, populations)
            found[f"{name}_precision"] = 1 - covered.precision if alike else covered.precision
            found[f"{name}_recall"] = 1 - covered.recall if alike else covered.recall
            if not alike:
                found[f"{name}_wasserstein"] = covered.wasserstein
    true = state_fluctuations(states, frame)
    if true is not None:
        told = agreement(score.rmsf[true[1]], true[0])
        values = {"rmsf_pearson": told.pearson, "rmsf_spearman": told.spearman, "rmsf_rmse": told.rmse}
        found |= {name: value for name, value in values.items() if value is not None}
    return found


@dataclass(frozen=True)
class _Compared:
    """One target's atoms, all and CA, ready to be compared with many models."""

    frame: Frame
    atoms: dict[str, np.ndarray]
    target: dict[str, np.ndarray]
    core: dict[str, np.ndarray | None]
    near: dict[str, Contacts]

    @classmethod
    def of(cls, frame: Frame, atoms: np.ndarray, target_xyz: np.ndarray, name: str) -> "_Compared":
        ca = frame.is_ca[atoms]
        core = None if frame.core_atoms is None else frame.core_atoms[atoms]
        if core is not None and core.sum() < FEWEST_ATOMS:
            raise StructureError(f"{name}: has {core.sum()} residues of the core, {FEWEST_ATOMS} are needed")
        rows = {"": atoms, "ca_": atoms[ca]}
        target = {"": target_xyz, "ca_": target_xyz[ca]}
        near = {each: contacts(target[each], frame.model.residue_index[rows[each]]) for each in rows}
        return cls(frame, rows, target, {"": core, "ca_": None if core is None else core[ca]}, near)

    def distances(self, models_xyz: np.ndarray) -> dict[str, np.ndarray]:
        """(model,) for each of QUANTITIES: of all orders of copies the one that fits best."""
        found = {}
        for prefix, atoms in self.atoms.items():
            target, core = self.target[prefix], self.core[prefix]
            ordered = [models_xyz[:, order[atoms]] for order in self.frame.orders]
            found[f"{prefix}rmsd"] = np.min([superposed_rmsd(each, target[None], core)[:, 0] for each in ordered], 0)
            found[f"{prefix}lddt"] = np.max([lddt(each, self.near[prefix]) for each in ordered], axis=0)
        return found


def _known_to_all(states: Sequence[TargetState], frame: Frame) -> np.ndarray:
    """(residue,) bool: whether every state has the residue."""
    ca = frame.model.backbone_index()[:, 1]
    return np.all([np.isin(ca, each.atoms) for each in states], axis=0) if states else np.ones(len(ca), dtype=bool)


def _fitted(states: Sequence[TargetState], frame: Frame) -> np.ndarray:
    """(residue,) bool by which samples are superposed for their RMSF, as the states are: so both can be compared."""
    known = _known_to_all(states, frame) if len(states) > 1 else np.ones(frame.model.n_residues, dtype=bool)
    chosen = known if frame.core is None else known & frame.core
    if chosen.sum() >= FEWEST_ATOMS:
        return chosen
    return np.ones(frame.model.n_residues, dtype=bool) if frame.core is None else frame.core
