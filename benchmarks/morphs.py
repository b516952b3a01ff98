"""Map series for measurements: four proteins that go from one crystal structure to another, 128^3 voxels each state."""

from pathlib import Path

import numpy as np
import torch
import yaml

from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.physics.density import render_gaussian
from cryofound.structure.alignment import matched_atoms, superpose
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS
from cryofound.structure.matching import matched_residues
from cryofound.structure.reading import read_model
from cryofound.structure.writing import write_ensemble

# (family, first and second structure with its chain) of different conformer clusters in the families' index.csv
PAIRS = (
    ("adenylate_kinase", ("1ake", "A"), ("4ake", "A")),
    ("abl_kinase", ("1iep", "A"), ("1m52", "A")),
    ("ras", ("1bkd", "R"), ("1clu", "A")),
    ("hsp90_ntd", ("1a4h", "A"), ("6cjp", "A")),
)
GRID = Grid.centred(128, 1.0)
RESOLUTION, NOISE = 5.0, 0.2


def write_series(families: Path, folder: Path, states: int) -> None:
    """Write `states` maps of each protein, its reference and its catalog entry into `folder`; once."""
    for family, first, second in PAIRS:
        entry = folder / f"{family}.yaml"
        if not entry.is_file():
            _write_one(families / family, folder, family, first, second, states)


def _write_one(
    structures: Path, folder: Path, name: str, first: tuple[str, str], second: tuple[str, str], states: int
) -> None:
    start, end = (read_model(structures / f"{each}_final.cif.gz", chain) for each, chain in (first, second))
    start = start.moved(start.positions_xyz - start.positions_xyz.mean(0))
    pairs = matched_residues(start, end)
    transform = superpose(end.ca_xyz()[pairs[:, 1]], start.ca_xyz()[pairs[:, 0]])
    atoms = matched_atoms(start, end, pairs)
    displacement = np.zeros_like(start.positions_xyz)
    displacement[atoms[:, 0]] = transform.apply(end.positions_xyz[atoms[:, 1]]) - start.positions_xyz[atoms[:, 0]]
    amplitude = torch.tensor([[float(ATOMIC_NUMBERS[ELEMENTS[int(each)]]) for each in start.element]])
    maps = folder / name
    maps.mkdir(parents=True, exist_ok=True)
    write_ensemble(maps / "reference.cif", start, start.positions_xyz[None], name=name)
    listed = []
    for row, share in enumerate(np.linspace(0, 1, states)):
        positions = torch.tensor(start.positions_xyz + np.float32(share) * displacement)[None]
        density = render_gaussian(positions, amplitude, GRID, RESOLUTION)[0].numpy()
        noise = np.random.default_rng(row).standard_normal(density.shape, dtype=np.float32)
        level = np.float32(NOISE * density[density > 0.1 * density.max()].std())
        write_map(maps / f"frame_{row:03d}.mrc", DensityMap(density + level * noise, GRID))
        listed.append(
            {"state_id": f"s{row:03d}", "kind": "map", "source": "here", "file": f"frame_{row:03d}.mrc",
             "resolution": RESOLUTION}
        )  # fmt: skip
    entry = {
        "system_id": name.replace("_", "-"), "family": name.replace("_", "-"), "split": "train",
        "sources": {"here": {"kind": "local", "folder": name}},
        "reference": {"source": "here", "file": "reference.cif"}, "states": listed,
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(entry))
