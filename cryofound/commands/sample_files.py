"""What a sampled ensemble is on disk: models, tables of samples and residues, principal motions, the verdict."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from cryofound.evaluation.principal_motions import PrincipalMotions
from cryofound.evaluation.sample_file import Samples
from cryofound.structure.atomic_model import RESIDUE_TYPES
from cryofound.structure.stencil import Stencil

ENSEMBLE, REFERENCE, SAMPLES, RESIDUES, VERDICT = (
    "ensemble.cif", "reference.cif", "samples.csv", "residues.csv", "verdict.json",
)  # fmt: skip
MOTIONS, MOTION_ARRAYS, SAMPLE_FOLDER, LATENTS = "motions.csv", "motions.npz", "samples", "latents.npy"
STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # standard deviations at which a principal motion is written
FORCED = "FORCED, outside every family that the model was trained on: do not trust"


@dataclass(frozen=True)
class Ensemble:
    """Samples of a reference in the frame of its file.

    structure: the protein of the reference's file, as `SampledReference` has it; samples: on disk, their model is the
    reference; figures by name (sample,) and profiles by name (residue,) go into the tables, NaN as nothing; uncertainty
    (residue,) angstrom; verdict: ready for JSON; mark: a word that every file bears where it is not empty.
    """

    title: str
    structure: gemmi.Structure
    samples: Samples
    figures: Mapping[str, np.ndarray]
    profiles: Mapping[str, np.ndarray]
    uncertainty: np.ndarray
    motions: PrincipalMotions
    verdict: Mapping[str, Any]
    grade: str
    mark: str


def write_ensemble_files(folder: Path, ensemble: Ensemble) -> None:
    """Write ENSEMBLE, a file of each sample in SAMPLE_FOLDER, the tables, the motions and the verdict.

    The B-factor column holds the uncertainty of each residue in angstrom. One sample is in memory at a time.
    """
    stencil, samples = Stencil.of(ensemble.structure), ensemble.samples
    uncertainty = ensemble.uncertainty[samples.model.residue_index]
    mark = f"{ensemble.mark}. " if ensemble.mark else ""
    told = "sampled without a map; the B-factor column is the uncertainty in angstrom"

    def write(path: Path, models_xyz: Any, what: str) -> None:
        stencil.write(path, models_xyz, f"{mark}{ensemble.title}: {what}", uncertainty)

    write(folder / REFERENCE, [samples.model.positions_xyz], "the reference, protein alone")
    write(folder / ENSEMBLE, _each(samples), f"{len(samples)} conformations {told}")
    (folder / SAMPLE_FOLDER).mkdir(exist_ok=True)
    for name, positions_xyz in zip(samples.names, _each(samples), strict=True):
        write(folder / SAMPLE_FOLDER / f"{name}.cif", [positions_xyz], f"{name}, {told}")
    for number, frames in enumerate(_frames(ensemble.motions), start=1):
        write(folder / f"motion_{number}.cif", frames, f"principal motion {number}, straight, for viewing alone")
    _write_tables(folder, ensemble)
    np.savez(
        folder / MOTION_ARRAYS,
        mean_xyz=ensemble.motions.mean_xyz.astype(np.float32),
        motion_xyz=ensemble.motions.motion_xyz.astype(np.float32),
        place=ensemble.motions.place,
        share=ensemble.motions.share,
        forced=np.array(bool(ensemble.mark)),
    )
    (folder / VERDICT).write_text(json.dumps(ensemble.verdict, indent=1) + "\n")


def _write_tables(folder: Path, ensemble: Ensemble) -> None:
    """SAMPLES, RESIDUES and MOTIONS; each row bears the verdict, so that no row of them is read without it."""
    verdict = f"{ensemble.grade} (FORCED)" if ensemble.mark else ensemble.grade
    samples, motions = ensemble.samples, ensemble.motions
    model = samples.model
    _write_table(
        folder / SAMPLES,
        ["sample", *ensemble.figures, "verdict"],
        ([name, *_cells(ensemble.figures, row), verdict] for row, name in enumerate(samples.names)),
    )
    of = zip(
        model.chain_id.tolist(), _numbers(ensemble.structure, model.residue_index), model.residue_type, strict=True
    )
    _write_table(
        folder / RESIDUES,
        ["chain", "number", "insertion", "name", "uncertainty", *ensemble.profiles, "verdict"],
        (
            [chain, *number, RESIDUE_TYPES[int(kind)], f"{ensemble.uncertainty[row]:.3f}"]
            + [*_cells(ensemble.profiles, row), verdict]
            for row, (chain, number, kind) in enumerate(of)
        ),
    )
    _write_table(
        folder / MOTIONS,
        ["motion", "share_of_variance", "standard_deviation", "verdict"],
        (
            [number, f"{share:.4f}", f"{deviation:.3f}", verdict]
            for number, (share, deviation) in enumerate(zip(motions.share, motions.deviation, strict=True), start=1)
        ),
    )


def _write_table(path: Path, head: Sequence[str], rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(head)
        writer.writerows(rows)


def _cells(values: Mapping[str, np.ndarray], row: int) -> list[str]:
    return ["" if np.isnan(each[row]) else f"{each[row]:.4g}" for each in values.values()]


def _numbers(structure: gemmi.Structure, residue_index: np.ndarray) -> list[tuple[int, str]]:
    """Author number and insertion code of each residue of the model, which knows no insertion codes."""
    found = {}
    for each in structure[0].all():
        seqid = each.residue.seqid
        found[int(residue_index[each.atom.serial])] = (seqid.num or 0, seqid.icode.strip())
    return [found[row] for row in range(len(found))]


def _each(samples: Samples) -> Any:
    """Each sample (atom, 3) in turn."""
    return (positions_xyz for chunk in samples.chunks() for positions_xyz in chunk)


def _frames(motions: PrincipalMotions) -> Any:
    """Of every motion, conformations (step, atom, 3) at STEPS."""
    for motion_xyz, deviation in zip(motions.motion_xyz, motions.deviation, strict=True):
        yield (motions.mean_xyz + step * deviation * motion_xyz for step in STEPS)
