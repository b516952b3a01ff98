"""Real models into their real maps, against where they were deposited."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from benchmarks.registration import CASES, CLOSE, HAEMOGLOBIN, OTHER_FRAME, docked_score, random_motion
from cryofound.errors import StructureError
from cryofound.reference.chain_registration import register_chains
from cryofound.reference.registration import mirrored_in_z, register
from cryofound.structure.alignment import superpose
from cryofound.structure.chains import residues_of
from cryofound.structure.matching import matched_residues
from cryofound.structure.reading import read_complex

pytestmark = pytest.mark.shared
VP6 = CASES[-1]


def test_vp6_comes_home_from_far_away(shared_data: Path) -> None:
    model, density = VP6.read(shared_data)
    away = random_motion(7)
    moved = model.moved(away.apply(model.positions_xyz))
    found = register(moved, density, resolution=VP6.resolution, check_hand=False)
    assert found.how == "searched"
    distance = np.linalg.norm(found.transform.apply(moved.positions_xyz) - model.positions_xyz, axis=1)
    assert np.sqrt((distance**2).mean()) < 0.1
    assert found.score >= docked_score(model, density, VP6.resolution)


@pytest.mark.parametrize("case", CASES, ids=lambda case: Path(case.model_file).name)
def test_deposited_models_stay_where_they_are(shared_data: Path, case) -> None:
    """The fit's optimum is the depositors': no bias of half a voxel, no axes exchanged."""
    model, density = case.read(shared_data)
    found = register(model, density, resolution=case.resolution, roughly_docked=True, check_hand=False)
    distance = np.linalg.norm(found.transform.apply(model.positions_xyz) - model.positions_xyz, axis=1)
    assert np.sqrt((distance**2).mean()) < 0.7
    assert found.score >= docked_score(model, density, case.resolution) - 0.001


@pytest.mark.slow
def test_haemoglobin_from_another_frame_lies_as_well_as_if_superposed_on_the_answer(shared_data: Path) -> None:
    deposited, density = HAEMOGLOBIN.read(shared_data)
    model = read_complex(shared_data / "maps" / OTHER_FRAME)
    found = register(model, density, resolution=HAEMOGLOBIN.resolution)
    assert not found.mirrored
    placed = model.moved(found.transform.apply(model.positions_xyz))
    rows, deposited_rows = matched_residues(placed, deposited).T
    told = superpose(model.ca_xyz()[rows], deposited.ca_xyz()[deposited_rows])
    superposed = model.moved(told.apply(model.positions_xyz))
    # The two halves may be exchanged, so each CA has one near it, not itself.
    assert np.mean(cKDTree(superposed.ca_xyz()).query(placed.ca_xyz())[0]) < 0.3
    assert found.score >= docked_score(superposed, density, HAEMOGLOBIN.resolution) - 0.001


@pytest.mark.slow
def test_the_mirrored_map_of_haemoglobin_is_called_mirrored(shared_data: Path) -> None:
    model, density = HAEMOGLOBIN.read(shared_data)
    found = register(model, mirrored_in_z(density), resolution=HAEMOGLOBIN.resolution, roughly_docked=False)
    assert found.mirrored
    assert found.mirrored_score == pytest.approx(docked_score(model, density, HAEMOGLOBIN.resolution), abs=CLOSE)


@pytest.mark.slow
def test_chains_of_haemoglobin_scattered_at_random_are_put_together(shared_data: Path) -> None:
    deposited, density = HAEMOGLOBIN.read(shared_data)
    positions = deposited.positions_xyz.copy()
    for number, name in enumerate("ABCD"):
        atoms = deposited.chain_id[deposited.residue_index] == name
        positions[atoms] = random_motion(number).apply(positions[atoms])
    scattered = replace(deposited, positions_xyz=positions)
    found = register_chains(scattered, density, resolution=HAEMOGLOBIN.resolution, check_hand=False)
    assert found.score == pytest.approx(docked_score(deposited, density, HAEMOGLOBIN.resolution), abs=0.005)


@pytest.mark.slow
def test_one_chain_is_found_in_a_map_of_two_copies_and_another_protein_is_not(shared_data: Path) -> None:
    deposited, density = HAEMOGLOBIN.read(shared_data)
    alpha = residues_of(deposited, np.flatnonzero(deposited.chain_id == "A"))
    moved = alpha.moved(random_motion(3).apply(alpha.positions_xyz))
    found = register(moved, density, resolution=HAEMOGLOBIN.resolution, roughly_docked=False)
    assert found.runner_up == pytest.approx(found.score, abs=0.01)
    assert found.score > 0.65
    with pytest.raises(StructureError, match="no pose stands out"):
        register(VP6.read(shared_data)[0], density, resolution=HAEMOGLOBIN.resolution, roughly_docked=False)
