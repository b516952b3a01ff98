"""How far an ensemble of a protein without maps is to be trusted: what errors such ensembles had, told in plain words.

The error that is foretold is that of the nearest of the samples to a state that nobody has seen, as RMSD. It was fitted
to the systems that were left out of training in the benchmark of families (`python -m benchmarks trust`).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cryofound.ensemble.system import System
from cryofound.errors import StructureError
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.members import Member
from cryofound.sampling.newcomer import Relation
from cryofound.structure.matching import matched_residues

COEFFICIENTS = Path(__file__).with_name("trust.json")
# Angstrom. Half of what the reference alone is wrong by in that benchmark (3.1 A on average), and as much as that.
FAIR_ERROR, POOR_ERROR = 1.5, 3.0
WELL_COVERED, COVERED = 0.7, 0.5  # shares of the residues; the rest has no counterpart from which motion could come
MOST_MISSING = 0.5  # share of the family's motion
DEPENDS = 0.5  # residual spread over latent spread from which the motion is a matter of what is not known

Grade = Literal["good", "fair", "poor", "outside"]


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on; angstrom over CA, but for the first two, which are as in `Relation`.

    latent_spread: of the samples about their mean; residual_spread: of the same latents under residuals drawn from the
    training systems'; family_motion: root mean square of the motion that training systems of the family have, decoded
    from their states, at the residues aligned with theirs, 0 where none is known.
    """

    identity: float
    coverage: float
    latent_spread: float
    residual_spread: float
    family_motion: float

    @property
    def missing_motion(self) -> float:
        """Share of the family's motion that the samples lack, 0 to 1."""
        return float(np.clip(1 - self.latent_spread / self.family_motion, 0, 1)) if self.family_motion > 0 else 1.0


@dataclass(frozen=True)
class Predictor:
    """log error = offset + unlike (1 - identity) + missing (share of the family's motion that is missing), angstrom.

    Neither slope is negative: no protein is trusted more for being stranger, or for moving less than its family.
    families: those that it was fitted to.
    """

    offset: float
    unlike: float
    missing: float
    families: tuple[str, ...] = ()

    def error(self, evidence: Evidence) -> float:
        """Angstrom."""
        unlike = self.unlike * (1 - evidence.identity)
        return float(np.exp(self.offset + unlike + self.missing * evidence.missing_motion))


@dataclass(frozen=True)
class Verdict:
    """How far to trust an ensemble.

    predicted_error: angstrom RMSD of the nearest sample to an unknown state; grade: by it, or `outside` of every
    family; uncertainty (residue,) float64 angstrom, of which the root mean square is that error.
    """

    predicted_error: float
    grade: Grade
    sentences: tuple[str, ...]
    uncertainty: np.ndarray
    evidence: Evidence

    @property
    def good(self) -> bool:
        return self.grade == "good"

    def facts(self) -> dict[str, Any]:
        """All but the uncertainty of residues, ready for JSON."""
        return {
            "predicted_error": self.predicted_error,
            "grade": self.grade,
            "sentences": list(self.sentences),
            **asdict(self.evidence),
            "missing_motion": self.evidence.missing_motion,
        }


def judge(
    model: FlowModel,
    system: System,
    relation: Relation,
    positions_xyz: np.ndarray,
    residual_positions_xyz: np.ndarray,
    predictor: Predictor | None = None,
) -> Verdict:
    """The verdict on samples (sample, atom, 3) angstrom of a newcomer, in the frame of `system`.

    residual_positions_xyz (draw, sample, atom, 3): of `residual_spread`. The predictor is the shipped one by default.
    """
    profiles = _profiles(system, relation, model.members, positions_xyz, residual_positions_xyz)
    evidence = _evidence(relation, profiles)
    predictor = predictor or shipped_predictor()
    error = predictor.error(evidence)
    tested = relation.family in predictor.families
    grade = _grade(error, relation, evidence, tested)
    return Verdict(
        predicted_error=error,
        grade=grade,
        sentences=_sentences(grade, error, relation, evidence, tested),
        uncertainty=_uncertainty(profiles, error),
        evidence=evidence,
    )


def gather_evidence(
    members: Sequence[Member],
    system: System,
    relation: Relation,
    positions_xyz: np.ndarray,
    residual_positions_xyz: np.ndarray,
) -> Evidence:
    """What `judge` rests on; arrays as there."""
    return _evidence(relation, _profiles(system, relation, members, positions_xyz, residual_positions_xyz))


def shipped_predictor() -> Predictor:
    """The predictor that was fitted to all four folds of the benchmark."""
    told = json.loads(COEFFICIENTS.read_text())
    return Predictor(**told["coefficients"], families=tuple(told["families"]))


def family_motion(members: Sequence[Member], system: System) -> np.ndarray:
    """(residue,) float64 angstrom: root mean square motion of the aligned CA of the family's training systems.

    Every system counts alike, and each of its states; NaN where no system with states has a counterpart.
    """
    squares, known = np.zeros((2, system.reference.n_residues))
    for member in members:
        if member.outline.family != system.family or not len(member.displacements):
            continue
        reference = member.outline.reference
        try:
            pairs = matched_residues(reference, system.reference)
        except StructureError:  # too distant a relative to have counterparts
            continue
        moved = member.displacements[:, reference.backbone_index()[:, 1]].astype(np.float64)
        squares[pairs[:, 1]] += (moved**2).sum(-1).mean(0)[pairs[:, 0]]
        known[pairs[:, 1]] += 1
    return np.sqrt(np.divide(squares, known, out=np.full_like(squares, np.nan), where=known > 0))


@dataclass(frozen=True)
class _Profiles:
    """Angstrom by residue: spread of samples and of residual draws, motion of the family (NaN where unknown)."""

    latent: np.ndarray
    residual: np.ndarray
    family: np.ndarray


def _profiles(
    system: System,
    relation: Relation,
    members: Sequence[Member],
    positions_xyz: np.ndarray,
    residual_positions_xyz: np.ndarray,
) -> _Profiles:
    ca = system.reference.backbone_index()[:, 1]
    samples, draws = (np.asarray(each[..., ca, :], np.float64) for each in (positions_xyz, residual_positions_xyz))
    return _Profiles(
        latent=_spread(samples),
        residual=np.sqrt((_spread(draws) ** 2).mean(0)),
        family=family_motion([] if relation.outside else members, system),
    )


def _evidence(relation: Relation, profiles: _Profiles) -> Evidence:
    known = profiles.family[np.isfinite(profiles.family)]
    return Evidence(
        identity=relation.identity,
        coverage=relation.coverage,
        latent_spread=_rms(profiles.latent),
        residual_spread=_rms(profiles.residual),
        family_motion=_rms(known) if len(known) else 0.0,
    )


def _uncertainty(profiles: _Profiles, error: float) -> np.ndarray:
    """(residue,) angstrom: large where samples or relatives move, with the error as its root mean square.

    A residue without a counterpart is told as uncertain as the one whose counterparts move most.
    """
    known = np.isfinite(profiles.family)
    most = profiles.family[known].max() if known.any() else 0.0
    family = np.where(known, profiles.family, most)
    shape = np.sqrt(profiles.latent**2 + profiles.residual**2 + family**2)
    return error * shape / _rms(shape) if shape.any() else np.full(len(shape), error)


def _grade(error: float, relation: Relation, evidence: Evidence, tested: bool) -> Grade:
    """By the error; but what has no example, was not sampled or never tested is no better than it can be told to be."""
    if relation.outside:
        return "outside"
    lacking = evidence.missing_motion > MOST_MISSING
    if error > POOR_ERROR or relation.coverage < COVERED or (lacking and not tested):
        return "poor"
    return "good" if error <= FAIR_ERROR and relation.coverage >= WELL_COVERED and tested and not lacking else "fair"


def _sentences(grade: Grade, error: float, relation: Relation, evidence: Evidence, tested: bool) -> tuple[str, ...]:
    if grade == "outside":
        return (
            f"{relation.refusal()[0].upper()}{relation.refusal()[1:]}.",
            "It was sampled by force: nothing is known of how wrong these models are, and no use should be made of "
            "their motion.",
        )
    told = [
        f"The nearest sample is foretold to miss a state that nobody has seen by about {error:.1f} A: the ensemble is "
        f"{grade}. "
        + (
            "Proteins left out of training were foretold to within a factor of 1.3 on average, at worst 2.4."
            if tested
            else "Nobody has tested that on this family: for families unlike those tested, it was wrong by 1.0 A on "
            "average and ranked proteins poorly."
        ),
        f"The nearest training system, {relation.member} of {relation.family}, shares {relation.identity:.0%} of the "
        f"residues aligned with it, which are {relation.coverage:.0%} of this protein.",
    ]
    if relation.coverage < WELL_COVERED:
        told.append("What has no counterpart there moves by no example: leave it out of what you conclude.")
    if evidence.family_motion > 0:
        told.append(
            f"The samples spread by {evidence.latent_spread:.1f} A; the family's training systems move by "
            f"{evidence.family_motion:.1f} A at the same residues."
        )
        if evidence.missing_motion > MOST_MISSING:
            told.append("Less than half of the family's motion was sampled: a state may lie well beyond the samples.")
        elif evidence.latent_spread > 1.5 * evidence.family_motion:
            told.append("That is more than any relative was trained to move: the widest samples are guesses.")
    else:
        told.append(f"The samples spread by {evidence.latent_spread:.1f} A; no motion of a relative is known.")
    depends = evidence.residual_spread > DEPENDS * evidence.latent_spread
    told.append(
        f"What the model cannot know of this protein changes a sample by {evidence.residual_spread:.2f} A"
        + (", as much as what it samples: trust no single sample." if depends else ", little beside that.")
    )
    return tuple(told)


def _spread(positions: np.ndarray) -> np.ndarray:
    """(..., residue): root mean square distance from the mean over the first axis of (..., residue, 3)."""
    return np.sqrt(((positions - positions.mean(0)) ** 2).sum(-1).mean(0))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((np.asarray(values) ** 2).mean()))
