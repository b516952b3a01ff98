"""What the report of an ensemble is told: the ensemble in the order of its file, its relatives' motion, its origin."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from cryofound.commands.sample_files import Ensemble
from cryofound.commands.sample_reference import SampledReference
from cryofound.ensemble.system import System
from cryofound.evaluation.fluctuation import fluctuations
from cryofound.evaluation.scored_model import ScoredModel
from cryofound.physics.stereochemistry import stereochemistry
from cryofound.report.sample_report import SampleReport, Trust, shown_rows
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.members import Member
from cryofound.sampling.newcomer import Relation
from cryofound.sampling.trust import Verdict
from cryofound.sampling.validity import soundness
from cryofound.structure.matching import matched_residues

# What a sample must keep to stand in the table without a mark: outliers in % or the reference's, if it has more;
# clashes per 1,000 atoms beyond the reference's.
MOST_OUTLIERS, MORE_CLASHES = 0.5, 5.0


def sample_view(
    ensemble: Ensemble,
    model: FlowModel,
    system: System,
    reference: SampledReference,
    relation: Relation,
    verdict: Verdict,
    facts: Mapping[str, Any],
) -> SampleReport:
    """The report of an ensemble that was judged; facts are its manifest's."""
    scored = ScoredModel(ensemble.title, reference.path, ensemble.structure)
    order = np.array([each.atom.serial for each in ensemble.structure[0].all()])
    residues = reference.atoms.residue_index[order][np.unique(scored.residue_index, return_index=True)[1]]
    place = ensemble.figures.get("motion_1", np.zeros(len(ensemble.samples)))
    shown = shown_rows(place)
    positions = np.concatenate([ensemble.samples.part(int(row), 1)[:, order] for row in shown])
    member = next(each for each in model.members if each.outline.system_id == relation.member)
    profiles = {"uncertainty": ensemble.uncertainty, **ensemble.profiles}
    if not relation.outside and len(member.displacements) > 1:
        told = f"{relation.member}, its {len(member.displacements)} training states"
        profiles[told] = member_fluctuations(member, reference)
    own = soundness(torch.from_numpy(reference.atoms.positions_xyz)[None], stereochemistry(reference.atoms))
    return SampleReport(
        title=ensemble.title,
        model=scored,
        names=ensemble.samples.names,
        figures=ensemble.figures,
        limits={
            "rama_outliers": max(MOST_OUTLIERS, 100 * float(own.outliers[0])),
            "clashes": float(own.clashes[0]) + MORE_CLASHES,
        },
        shown=shown,
        positions_xyz=positions,
        profiles={name: values[residues] for name, values in profiles.items()},
        motions=ensemble.motions,
        trust=Trust(verdict.grade, tuple(verdict.sentences), good=verdict.good, forced=relation.outside),
        notes=reference.notes,
        facts={
            "header": {
                "Family": relation.family if not relation.outside else "none",
                "Nearest training system": f"{relation.member}, {100 * relation.identity:.0f} % identical",
                "Symmetry": f"{system.symmetry} {facts['request']['symmetry']}" if system.symmetry != "C1" else "none",
            },
            "records": {
                "Model": facts["request"]["model"],
                "SHA-256 of its weights": facts["model_sha256"],
                "Reference": facts["reference"]["path"],
                "SHA-256 of its file": facts["reference"]["sha256"],
                "Seed": facts["request"]["seed"],
                "Drawn and dropped as not valid": facts["dropped"],
                "Revision of CryoFound": facts["revision"],
            },
            "settings": facts["settings"],
            "table_note": f"The reference itself has {100 * float(own.outliers[0]):.2f} % Ramachandran outliers and "
            f"{float(own.clashes[0]):.1f} clashes per 1,000 atoms.",
        },
    )


def member_fluctuations(member: Member, reference: SampledReference) -> np.ndarray:
    """(residue,) angstrom: RMSF of a training system's CA over its states, at the reference's residues.

    NaN for a residue that has no counterpart.
    """
    pairs = matched_residues(member.outline.reference, reference.atoms)
    own = member.outline.reference
    states_xyz = own.ca_xyz() + member.displacements[:, own.backbone_index()[:, 1]]
    found = np.full(reference.atoms.n_residues, np.nan)
    found[pairs[:, 1]] = fluctuations(lambda: [states_xyz], own.ca_xyz())[pairs[:, 0]]
    return found
