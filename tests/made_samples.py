"""Sampled ensembles made up: two lobes that open by a hinge, with a little of another motion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from cryofound.evaluation.principal_motions import principal_motions
from cryofound.evaluation.scored_model import ScoredModel, read_scored_models
from cryofound.report.sample_report import SampleReport, Trust, shown_rows
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein

ANGLES = (6.0, -9.0, 0.0, 12.0, -3.0)  # degrees of the hinge, as drawn
FACTS: Mapping[str, Any] = {
    "header": {"Family": "hinges", "Nearest training system": "hinge_one (61 % identical)"},
    "records": {"Model": "models:/cryofound@production", "Reference": "/data/hinge.pdb"},
    "settings": {"samples": 5, "solver": "euler"},
    "table_note": "The reference has 3.1 clashes per 1,000 atoms.",
}


def made_scored(folder: Path, residues: int = 60, chain: str = "A") -> ScoredModel:
    """The protein of the samples, as it is read from a file."""
    protein = made_protein(residues)
    path = folder / "hinge.cif"
    write_ensemble(path, protein, protein.positions_xyz[None])
    structure = gemmi.read_structure(str(path))
    structure[0][0].name = chain
    structure.make_mmcif_document().write_file(str(path))
    return read_scored_models(path)[0]


def made_samples(residues: int = 60, angles: Sequence[float] = ANGLES) -> np.ndarray:
    """(sample, atom, 3) float32 of `made_scored`: turned about the hinge, and shifted by a tenth of it along z."""
    turned = [made_protein(residues, hinge_degrees=angle).positions_xyz for angle in angles]
    shifts = [np.array([0.0, 0.0, 0.1 * (row % 2)]) for row in range(len(angles))]
    return np.stack([xyz + shift for xyz, shift in zip(turned, shifts, strict=True)]).astype(np.float32)


def made_report(
    folder: Path,
    *,
    residues: int = 60,
    angles: Sequence[float] = ANGLES,
    chain: str = "A",
    forced: bool = False,
    most: int = 64,
    sentences: Sequence[str] = ("Its nearest relative shares 61 % of its residues.",),
) -> SampleReport:
    """A report of such an ensemble, with every figure that there can be."""
    model = made_scored(folder, residues, chain)
    samples = made_samples(residues, angles)
    motions = principal_motions(lambda: [samples])
    place = motions.place[:, 0] if motions.place.size else np.zeros(len(samples))
    shown = shown_rows(place, most)
    count = len(samples)
    along = np.linspace(0.0, 1.0, len(model.residues))
    return SampleReport(
        title="hinge",
        model=model,
        names=tuple(f"sample_{number:02d}" for number in range(1, count + 1)),
        figures={
            "motion_1": place,
            "rmsd": np.linspace(0.2, 2.0, count),
            "rama_outliers": np.where(np.arange(count) == 1, 0.7, 0.1),
            "clashes": np.full(count, 4.2),
            "repair": np.full(count, 0.11),
        },
        limits={"rama_outliers": 0.5},
        shown=shown,
        positions_xyz=samples[shown],
        profiles={"uncertainty": 0.5 + along, "rmsf": 2 * along, "hinge_one, its training states": 1.5 * along},
        motions=motions,
        trust=Trust("poor" if forced else "good", tuple(sentences), good=not forced, forced=forced),
        notes=("left out: 2 ZN",),
        facts=FACTS,
    )
