"""Folders as `cryofound build` writes them, made up: a helix, its states shifted along x, and the maps of them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import torch

from cryofound.building.deposit import ReferenceFile, read_reference_file, write_models
from cryofound.evaluation.scored_model import read_scored_models
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.physics.density import render_gaussian
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein

SHIFT = 3.0  # angstrom along x from one state to the next
FRAMES = 4  # of the morph, from one state to the next
RESOLUTION = 4.0
LIGAND = "HETATM 9001 ZN    ZN A 901      {:8.3f}{:8.3f}{:8.3f}  1.00 20.00          ZN\nEND\n"
GOOD = {
    "resolution": RESOLUTION, "cc_mask": 0.81, "cc_volume": 0.8, "cc_peaks": 0.79, "cc_box": 0.9, "q_score": 0.7,
    "d_fsc_model_05": 4.1, "b_factor_mean": 50.0, "rama_outliers": 0.1, "rama_favored": 98.0, "rota_outliers": 0.5,
    "cbeta_outliers": 0.0, "clashscore": 4.0, "molprobity": 1.3,
}  # fmt: skip


def made_build(
    folder: Path,
    names: Sequence[str] = ("one", "two"),
    *,
    residues: int = 40,
    chain: str = "A",
    scores: dict[str, Any] | None = None,
    warnings: Sequence[str] = (),
    free: tuple[float, float] = (0.95, 0.94),
) -> tuple[dict[str, DensityMap], dict[str, Any]]:
    """Write the folder, without its manifest; the maps by state, and the manifest's facts."""
    folder.mkdir(parents=True)
    file = _reference(folder.parent / "reference.pdb", residues, chain)
    start = file.model.positions_xyz
    shifts = [np.array([SHIFT * number, 0.0, 0.0]) for number in range(len(names))]
    models = [_model(file, start + shift, shift) for shift in shifts]
    grid = _grid(start, shifts[-1])
    maps = {}
    for name, model, shift in zip(names, models, shifts, strict=True):
        write_models(folder / f"{name}.cif", file, [model], name)
        xyz = torch.from_numpy((start + shift).astype(np.float32))[None]
        drawn = render_gaussian(xyz, torch.full((1, xyz.shape[1]), 6.0), grid, RESOLUTION)[0]
        maps[name] = DensityMap(drawn.numpy(), grid)
    if len(names) > 1:
        parts = np.linspace(0, 1, (len(names) - 1) * (FRAMES + 1) + 1)
        write_models(
            folder / "morph.cif", file, [_model(file, start + p * shifts[-1], p * shifts[-1]) for p in parts], ""
        )
    _write_tables(folder, names)
    flat = {f"{name}/{key}": value for name in names for key, value in (GOOD | (scores or {})).items()}
    (folder / "scores.json").write_text(json.dumps(flat))
    (folder / "warnings.txt").write_text("".join(f"{line}\n" for line in warnings))
    facts = {
        "kind": "models",
        "reference": {"path": "/data/reference.pdb", "sha256": "0" * 64},
        "maps": {name: str(number) * 64 for number, name in enumerate(names)},
        "recipe": {"reach": 12.0},
        "revision": "abcdef123456",
        "free": {name: {"seen": free[0], "free": free[1]} for name in names},
        "built_from": {name: "reference" if not number else names[number - 1] for number, name in enumerate(names)},
    }
    return maps, facts


def _reference(path: Path, residues: int, chain: str) -> ReferenceFile:
    """A protein in one chain, with a zinc ion."""
    protein = made_protein(residues)
    protein = protein.moved(protein.positions_xyz - protein.positions_xyz.mean(0))
    cif = path.with_suffix(".cif")
    write_ensemble(cif, protein, protein.positions_xyz[None])
    text = gemmi.read_structure(str(cif)).make_pdb_string().split("TER")[0]
    path.write_text(text + LIGAND.format(*(protein.positions_xyz[60] + [0, 0, 4])))
    structure = gemmi.read_structure(str(path))
    for each in structure[0]:
        each.name = chain
    structure.make_mmcif_document().write_file(str(cif))
    return read_reference_file(cif)


def _model(file: ReferenceFile, positions_xyz: np.ndarray, shift: np.ndarray) -> gemmi.Model:
    pieces = [xyz + shift for xyz in file.passengers().positions_xyz]
    return file.placed(positions_xyz, pieces, np.full(file.structure[0].count_atom_sites(), 50.0))


def _grid(start_xyz: np.ndarray, shift: np.ndarray) -> Grid:
    low, high = start_xyz.min(0) - 10, start_xyz.max(0) + shift + 10
    x, y, z = np.ceil((high - low) / 1.3).astype(int).tolist()
    return Grid((z, y, x), 1.3, tuple(low.tolist()))


def _write_tables(folder: Path, names: Sequence[str]) -> None:
    with (
        (folder / "residues.csv").open("w", newline="") as residues,
        (folder / "displacements.csv").open("w", newline="") as moves,
        (folder / "fsc.csv").open("w", newline="") as curves,
    ):
        residue_rows, move_rows, curve_rows = (csv.writer(each) for each in (residues, moves, curves))
        residue_rows.writerow(("model", "chain", "number", "insertion", "name", "b_factor", "cc", "q"))
        move_rows.writerow(("state", "chain", "number", "ca_displacement"))
        curve_rows.writerow(("model", "frequency", "fsc"))
        for number, name in enumerate(names):
            for row, each in enumerate(read_scored_models(folder / f"{name}.cif")[0].residues):
                cc = 0.9 - 0.01 * (row % 10) - 0.02 * number
                residue_rows.writerow((name, *each, f"{50 + row % 7:.1f}", f"{cc:.4f}", ""))
                if each.name != "ZN":
                    move_rows.writerow((name, each.chain, each.number, f"{SHIFT * number:.3f}"))
            for shell in range(1, 20):
                curve_rows.writerow((name, f"{0.02 * shell:.5f}", f"{1 / (1 + (shell / 12) ** 4):.4f}"))
