"""What is built of a catalog entry: which atoms, which maps, in which frame, and when it is made again."""

from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
import yaml

from cryofound.building.deposit import read_reference_file
from cryofound.building.models import BuildRequest
from cryofound.building.request import entry_identity, make_inputs, read_inputs
from cryofound.catalog.entry import Simulation, load_entry
from cryofound.config import BuildConfig
from cryofound.ensemble.simulation import simulate_map
from cryofound.errors import SourceError, StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import read_map, write_map
from cryofound.reference.poses import body_of
from cryofound.reference.rigid_fit import zone_ncc
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein, random_rotation

GRID = Grid((40, 40, 44), 2.0, (-44.0, -40.0, -40.0))
MAP = {"kind": "map", "source": "here", "resolution": 6.0}


def hinge(degrees: float) -> AtomicModel:
    model = made_protein(60, hinge_degrees=degrees)
    return model.moved(model.positions_xyz - made_protein(60).positions_xyz.mean(0))


def write_model(path: Path, model: AtomicModel) -> None:
    write_ensemble(path, model, model.positions_xyz[None])


def write_density(path: Path, model: AtomicModel, grid: Grid = GRID) -> None:
    write_map(path, DensityMap(simulate_map(model, grid, Simulation(resolution=6.0), path.stem), grid))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_model(tmp_path / "reference.cif", hinge(0))
    return tmp_path


def write_entry(here: Path, states: list[dict[str, Any]], **more: Any) -> Path:
    facts = {
        "schema_version": 2,
        "system_id": "made",
        "family": "hinges",
        "split": "train",
        "sources": {"here": {"kind": "local", "folder": "."}},
        "reference": {"source": "here", "file": "reference.cif"},
        "states": states,
        "simulation": {"resolution": 6.0},
    }
    path = here / "made.yaml"
    path.write_text(yaml.safe_dump(facts | more))
    return path


def inputs_of(path: Path) -> BuildRequest:
    entry, folder, cache = load_entry(path), path.parent / "inputs", path.parent / "cache"
    make_inputs(entry, entry_identity(entry, cache, "auto"), folder, cache, "auto", lambda told: None)
    return read_inputs(folder, BuildConfig())


def correlation(model: AtomicModel, path: Path) -> float:
    """Of a model's atoms with the map about them."""
    body = body_of(model)
    return zone_ncc(body.atoms_xyz, body.electrons, read_map(path), 6.0)


def test_states_given_by_atoms_become_maps_about_the_reference(here: Path) -> None:
    away = hinge(30).moved(hinge(30).positions_xyz @ random_rotation(1).T + 80.0)
    write_model(here / "away.cif", away)
    files = [("same", "reference.cif"), ("bent", "away.cif")]
    states = [{"state_id": name, "kind": "structure", "source": "here", "file": file} for name, file in files]
    request = inputs_of(write_entry(here, states, simulation={"resolution": 6.0, "noise": 0.2}))
    assert request.reference == here / "reference.cif"  # nothing of it has to be made
    same, bent = request.states
    assert (same.state_id, same.resolution) == ("same", 6.0)
    # the noise: 1 / sqrt(1 + 0.2^2) of a noise-free map's correlation
    assert correlation(hinge(0), same.path) == pytest.approx(1 / np.sqrt(1.04), abs=0.02)
    assert correlation(hinge(0), bent.path) < correlation(hinge(30), bent.path)
    assert read_map(same.path).grid == read_map(bent.path).grid
    assert same.path.is_relative_to(here / "inputs")


def test_measured_maps_are_used_where_they_lie(here: Path) -> None:
    for name in ("map", "half1", "half2", "mask"):
        write_density(here / f"{name}.mrc", hinge(0))
    halves = [{"source": "here", "file": f"half{number}.mrc"} for number in (1, 2)]
    state = {**MAP, "state_id": "one", "file": "map.mrc", "half_maps": halves}
    request = inputs_of(write_entry(here, [state], mask={"source": "here", "file": "mask.mrc"}))
    (one,) = request.states
    assert (one.path, one.mask) == (here / "map.mrc", here / "mask.mrc")
    assert one.half_maps == (here / "half1.mrc", here / "half2.mrc")
    assert request.origin["registration"] is None


def test_preprocessed_maps_keep_their_mask_on_their_grid(here: Path) -> None:
    for name in ("map", "mask"):
        write_density(here / f"{name}.mrc", hinge(0))
    state = {**MAP, "state_id": "one", "file": "map.mrc", "mask": {"source": "here", "file": "mask.mrc"}}
    smaller = {"kind": "box", "shape_xyz": [40, 32, 32], "centre": "model"}
    (one,) = inputs_of(write_entry(here, [state], preprocessing=[smaller])).states
    density, mask = read_map(one.path), read_map(one.mask or Path())
    assert density.grid == mask.grid
    assert density.grid.shape_zyx == (32, 32, 40)
    np.testing.assert_allclose(density.values_zyx, mask.values_zyx, atol=1e-3 * density.values_zyx.max())


def test_maps_of_other_frames_come_into_the_reference_s_by_the_models_in_them(here: Path) -> None:
    """Two depositions of the same molecule, the second turned and shifted: made alike, both show the reference."""
    turn, shift = random_rotation(4), np.array([9.0, -4.0, 6.0])
    other = hinge(0).moved(hinge(0).positions_xyz @ turn.T + shift)
    write_model(here / "other.cif", other)
    write_density(here / "one.mrc", hinge(0))
    write_density(here / "two.mrc", other, Grid((60, 60, 60), 1.8, (-44.0, -55.0, -44.0)))
    states = [
        {**MAP, "state_id": name, "file": f"{name}.mrc", "fitted_model": {"source": "here", "file": file}}
        for name, file in (("one", "reference.cif"), ("two", "other.cif"))
    ]
    for state in inputs_of(write_entry(here, states)).states:
        assert correlation(hinge(0), state.path) > 0.99


def test_the_reference_keeps_what_the_entry_names_and_the_ligands_near_it(here: Path) -> None:
    structure = gemmi.read_structure(str(here / "reference.cif"))
    chain = structure[0]["A"]
    near = gemmi.Position(*chain[20]["CA"][0].pos.tolist())
    second = chain.clone()
    second.name = "B"
    for residue in second:
        for atom in residue:
            atom.pos += gemmi.Position(0, 0, 40)
    for number, shift in ((901, 3.0), (902, 60.0)):
        ion = gemmi.Residue()
        ion.name, ion.seqid, ion.het_flag = "ZN", gemmi.SeqId(number, " "), "H"
        atom = gemmi.Atom()
        atom.name, atom.element = "ZN", gemmi.Element("Zn")
        atom.pos = near + gemmi.Position(0, 0, shift)
        ion.add_atom(atom)
        chain.add_residue(ion)
    structure[0].add_chain(second)
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(here / "reference.cif"))
    write_density(here / "map.mrc", hinge(0))
    kept = {"source": "here", "file": "reference.cif", "chain": "A", "residues": [5, 55]}
    state = {**MAP, "state_id": "one", "file": "map.mrc"}
    request = inputs_of(write_entry(here, [state], reference=kept))
    assert request.reference == here / "inputs" / "reference.cif"
    file = read_reference_file(request.reference, request.chains)
    assert file.model.residue_number.tolist() == list(range(5, 56))
    rest = [residue.name for chain in file.structure[0] for residue in chain if residue.name == "ZN"]
    assert (len(file.pieces), rest) == (1, ["ZN"])
    drawn = {"state_id": "drawn", "kind": "structure", "source": "here", "file": "reference.cif", "chain": "A"}
    request = inputs_of(write_entry(here, [drawn], reference=kept))  # a map without the ligand
    assert read_reference_file(request.reference, request.chains).pieces == ()


@pytest.mark.shared
def test_a_trimmed_prediction_still_knows_its_predictor_s_folder(here: Path, shared_data: Path) -> None:
    folder = next((shared_data / "boltz").rglob("predictions/pdl1_binder"))
    sources = {"here": {"kind": "local", "folder": str(folder)}}
    file = "pdl1_binder_model_0.cif"
    reference = {"source": "here", "file": file, "chain": "A", "residues": [10, 80], "method": "boltz-1"}
    drawn = {"state_id": "drawn", "kind": "structure", "source": "here", "file": file, "chain": "A"}
    request = inputs_of(write_entry(here, [drawn], sources=sources, reference=reference))
    assert request.prediction == folder
    assert request.reference == here / "inputs" / file
    assert read_reference_file(request.reference, request.chains).model.n_residues == 71


def test_inputs_are_made_once_and_again_when_a_file_has_changed(here: Path) -> None:
    states = [{"state_id": "one", "kind": "structure", "source": "here", "file": "reference.cif"}]
    path = write_entry(here, states)
    made = inputs_of(path).states[0].path
    first = made.stat().st_mtime_ns
    assert inputs_of(path).states[0].path.stat().st_mtime_ns == first
    write_model(here / "reference.cif", hinge(20))
    inputs_of(path)
    assert made.stat().st_mtime_ns > first
    assert correlation(hinge(20), made) > 0.99


def test_a_missing_file_and_a_wrong_sequence_are_one_line(here: Path) -> None:
    missing = write_entry(here, [{**MAP, "state_id": "one", "file": "no.mrc"}])
    with pytest.raises(SourceError, match=r"no.mrc: not in source here of made"):
        inputs_of(missing)
    write_density(here / "map.mrc", hinge(0))
    wrong = write_entry(here, [{**MAP, "state_id": "one", "file": "map.mrc"}], sequence="G" * 60)
    with pytest.raises(StructureError, match=r"sequence of made does not match"):
        inputs_of(wrong)
    assert not (here / "inputs").exists()
