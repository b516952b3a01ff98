"""What the report of a build shows, read from the build's folder and its maps: states, their scores, and the facts."""

import csv
import json
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from cryofound.errors import StructureError
from cryofound.evaluation.scored_model import Residue, ScoredModel, read_scored_models
from cryofound.manifest import read_manifest
from cryofound.maps.density_map import DensityMap

SCORES, WARNINGS, MORPH = "scores.json", "warnings.txt", "morph.cif"
RESIDUES, FSC, DISPLACEMENTS = "residues.csv", "fsc.csv", "displacements.csv"
ATOM_SITE = "_atom_site."
QUOTED = re.compile(r"""'(?:[^']|'(?=\S))*'|"(?:[^"]|"(?=\S))*"|\S+""")  # words of a CIF line, quoted or not


@dataclass(frozen=True)
class StateReport:
    """One state: its model, map and scores; arrays (residue,) float64 in the model's order, NaN where nothing is known.

    correlation with the map, b_factor in square angstrom, displacement of CA from the reference in angstrom; frequency
    (shell,) in 1/angstrom with the map-model fsc (shell,); seen and free are the correlations of a `FreeFit`, or None.
    """

    state_id: str
    model: ScoredModel
    density: DensityMap | None
    metrics: Mapping[str, float]
    correlation: np.ndarray
    b_factor: np.ndarray
    displacement: np.ndarray
    frequency: np.ndarray
    fsc: np.ndarray
    built_from: str
    free: tuple[float, float] | None

    @property
    def resolution(self) -> float:
        return self.metrics["resolution"]


@dataclass(frozen=True)
class BuildReport:
    """A finished build: its states in their order, all of the same atoms; morph_xyz (frame, atom, 3) or None."""

    reference: str
    software: str
    states: tuple[StateReport, ...]
    warnings: tuple[str, ...]
    morph_xyz: np.ndarray | None
    facts: Mapping[str, Any]


def read_build_report(
    folder: Path, maps: Mapping[str, DensityMap], facts: Mapping[str, Any] | None = None
) -> BuildReport:
    """Read the folder of `build_models`; states whose map is not in `maps` are shown without.

    facts are those of its manifest, read from there where None. Raises StoreError for a folder that was not finished,
    StructureError where its files do not belong together.
    """
    folder = Path(folder)
    facts = read_manifest(folder, check=False) if facts is None else facts
    scores = {tuple(key.rsplit("/", 1)): value for key, value in json.loads((folder / SCORES).read_text()).items()}
    residues, curves, moves = (_by_state(folder / name) for name in (RESIDUES, FSC, DISPLACEMENTS))
    states = []
    for name in facts["maps"]:
        model = read_scored_models(folder / f"{name}.cif")[0]
        rows = residues.get(name, [])
        if [_residue(row) for row in rows] != model.residues:
            raise StructureError(f"{folder / RESIDUES}: residues of {name} are not those of {name}.cif; build again")
        if states and not _same_atoms(model, states[0].model):
            raise StructureError(f"{folder}: atoms of {name}.cif are not those of {states[0].state_id}.cif")
        curve = np.array([(float(row["frequency"]), float(row["fsc"])) for row in curves.get(name, [])])
        free = facts.get("free", {}).get(name)
        states.append(
            StateReport(
                state_id=name,
                model=model,
                density=maps.get(name),
                metrics={quantity: value for (state, quantity), value in scores.items() if state == name},
                correlation=_numbers(rows, "cc"),
                b_factor=_numbers(rows, "b_factor"),
                displacement=_displacements(model.residues, moves.get(name, [])),
                frequency=curve.reshape(-1, 2)[:, 0],
                fsc=curve.reshape(-1, 2)[:, 1],
                built_from=facts.get("built_from", {}).get(name, "reference"),
                free=None if free is None else (free["seen"], free["free"]),
            )
        )
    if not states:
        raise StructureError(f"{folder}: its manifest names no maps, so there is nothing to report")
    software = gemmi.cif.read(str(folder / f"{states[0].state_id}.cif")).sole_block().find_value("_software.version")
    return BuildReport(
        reference=Path(facts["reference"]["path"]).name,
        software=gemmi.cif.as_string(software) if software else "",
        states=tuple(states),
        warnings=tuple((folder / WARNINGS).read_text().splitlines()),
        morph_xyz=_morph(folder / MORPH, states[0].model) if (folder / MORPH).exists() else None,
        facts=facts,
    )


def _by_state(path: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of a table by what stands in their first column."""
    found: dict[str, list[dict[str, str]]] = {}
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(next(iter(row.values())), []).append(row)
    return found


def _residue(row: Mapping[str, str]) -> Residue:
    return Residue(row["chain"], int(row["number"]), row["insertion"], row["name"])


def _numbers(rows: Sequence[Mapping[str, str]], column: str) -> np.ndarray:
    return np.array([float(row[column] or "nan") for row in rows])


def _displacements(residues: Sequence[Residue], rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    """(residue,) from rows that name chain and number only: residues of the same number take theirs in turn."""
    waiting: dict[tuple[str, int], list[float]] = {}
    for row in reversed(rows):
        waiting.setdefault((row["chain"], int(row["number"])), []).append(float(row["ca_displacement"]))
    found = np.full(len(residues), np.nan)
    for row, residue in enumerate(residues):
        if left := waiting.get((residue.chain, residue.number)):
            found[row] = left.pop()
    return found


def _same_atoms(first: ScoredModel, second: ScoredModel) -> bool:
    return first.residues == second.residues and _atom_names(first) == _atom_names(second)


def _atom_names(model: ScoredModel) -> list[str]:
    return [each.atom.name for each in model.structure[0].all()]


def _morph(path: Path, model: ScoredModel) -> np.ndarray:
    """(frame, atom, 3) float32; read line by line: gemmi takes some gigabytes for a long morph of a large complex."""
    expected = _atom_names(model)
    column: dict[str, int] = {}
    names: list[str] = []
    positions = array("f")
    with path.open() as stream:
        for line in stream:
            if line.startswith(ATOM_SITE):
                column[line.strip().removeprefix(ATOM_SITE)] = len(column)
            elif line.startswith(("ATOM ", "HETATM ")):
                words = QUOTED.findall(line) if "'" in line or '"' in line else line.split()
                if len(names) < len(expected):
                    names.append(gemmi.cif.as_string(words[column["label_atom_id"]]))
                positions.extend(float(words[column[axis]]) for axis in ("Cartn_x", "Cartn_y", "Cartn_z"))
    if names != expected or len(positions) % (3 * len(expected)):
        raise StructureError(f"{path}: its atoms are not those of {model.path.name}; build again")
    return np.array(positions, dtype=np.float32).reshape(-1, len(expected), 3)
