"""A complex goes through the pipeline whole: all chains, in the frame of another complex of its family."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryofound.catalog.entry import CatalogEntry, load_entry
from cryofound.errors import StructureError
from cryofound.maps.density_map import Grid
from cryofound.models.symmetry import symmetrised, symmetry_tables
from cryofound.reference.canonical import CHAIN_GAP
from cryofound.structure.alignment import rmsd_superposed
from cryofound.structure.atomic_model import ATOM_NAMES, BACKBONE, AtomicModel
from cryofound.structure.chains import chain_rows
from cryofound.structure.symmetry import find_symmetry
from cryofound.structure.writing import write_ensemble
from data_pipeline.stages import build_system, place
from tests.made_complexes import made_ring
from tests.pipeline.conftest import write_entry

GRID = Grid.centred(64, 2.5)


def write_channel(folder: Path, files: Path, name: str, states: dict[str, str], **changes: Any) -> Path:
    """An entry of a tetramer whose reference is the first of its states."""
    listed = [
        {"state_id": state, "kind": "structure", "source": "here", "file": file} for state, file in states.items()
    ]
    common = {"family": "trp-channel", "symmetry": "C4", "chains": [{"names": list("ABCD")}], "states": listed}
    sources = {"here": {"kind": "local", "folder": str(files)}}
    reference = {"source": "here", "file": listed[0]["file"]}
    simulation = {"resolution": 8.0}
    return write_entry(folder, name, sources=sources, reference=reference, simulation=simulation, **common, **changes)


def four_fold_axis(model: AtomicModel) -> tuple[np.ndarray, np.ndarray]:
    """Direction and centre of the ring A, B, C, D."""
    centres = [model.ca_xyz()[rows].mean(0) for rows in chain_rows(model).values()]
    across = np.cross(centres[2] - centres[0], centres[3] - centres[1])
    return across / np.linalg.norm(across), np.mean(centres, axis=0)


@pytest.mark.shared
def test_trp_channels_as_tetramers(shared_data: Path, tmp_path: Path) -> None:
    files = shared_data / "families/trp_channel"
    trpv1 = load_entry(write_channel(tmp_path, files, "trpv1", {"one": "7l2i.cif.gz", "two": "7l2j.cif.gz"}))
    trpv5 = load_entry(write_channel(tmp_path, files, "trpv5", {"one": "6o1p_trpv5.pdb.gz"}, split="held_out"))
    system, maps = build_system(trpv1, trpv1, GRID, tmp_path)
    relative, its_maps = build_system(trpv5, trpv1, GRID, tmp_path)
    assert list(chain_rows(system.reference)) == list("ABCD")
    known = system.truth_mask[1]
    assert known.mean() > 0.99
    difference = rmsd_superposed(system.truth_xyz[1][known], system.reference.positions_xyz[known])
    assert difference == pytest.approx(1.59, abs=0.01)
    (axis, centre), (its_axis, its_centre) = map(four_fold_axis, (system.reference, relative.reference))
    assert abs(axis @ its_axis) > np.cos(np.radians(0.5))
    assert np.linalg.norm(np.cross(its_centre - centre, axis)) < 0.1
    assert (system.symmetry, relative.symmetry) == ("C4", "C4")
    # The opening is a symmetric motion of the backbone; each copy's side chains were modelled on their own.
    group = find_symmetry(system.reference, system.symmetry)
    displacement = np.where(known[:, None], system.truth_xyz[1] - system.reference.positions_xyz, 0)
    tables = symmetry_tables([(group.atoms, group.rotation)], len(known))
    rest = displacement - symmetrised(torch.from_numpy(displacement)[None], *tables)[0].numpy()
    backbone = known & np.isin(system.reference.atom_name, [ATOM_NAMES.index(name) for name in BACKBONE])
    size, left = (np.sqrt((field[backbone] ** 2).sum(1).mean()) for field in (displacement, rest))
    assert size == pytest.approx(1.03, abs=0.02)
    assert left == pytest.approx(0.29, abs=0.02)
    correlation = np.corrcoef([maps[0].ravel(), maps[1].ravel(), its_maps[0].ravel()])
    assert correlation[0, 1] == pytest.approx(0.976, abs=0.005)
    assert correlation[0, 2] == pytest.approx(0.80, abs=0.02)
    offsets = [int(relative.family_position[rows][0]) for rows in chain_rows(relative.reference).values()]
    assert np.diff(sorted(offsets)).tolist() == [531 + CHAIN_GAP] * 3


def test_copies_are_tied_only_by_a_symmetry_that_the_reference_has(tmp_path: Path) -> None:
    ring = made_ring(4, residues=40)
    bent = ring.moved(ring.positions_xyz + [0.0, 0.0, 9.0] * (ring.chain_id == "B")[ring.residue_index, None])
    for name, model in (("even", ring), ("bent", bent)):
        write_ensemble(tmp_path / f"{name}.cif", model, model.positions_xyz[None])

    def entry(file: str, **changes: Any) -> CatalogEntry:
        return load_entry(write_channel(tmp_path, tmp_path, "ring", {"one": f"{file}.cif"}, **changes))

    tied = entry("even")
    assert build_system(tied, tied, GRID, tmp_path)[0].symmetry == "C4"
    free = entry("bent", copies="free")
    assert build_system(free, free, GRID, tmp_path)[0].symmetry == "C1"
    wrong = entry("bent")
    with pytest.raises(StructureError, match=r"^ring: chains A, B, C, D do not have .* C4 .* copies be free$"):
        place(wrong, wrong, GRID, tmp_path)
