import dataclasses
import importlib.util
import logging

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.evaluation.stereochemistry import backbone_bond_deviation, ramachandran
from cryofound.physics.geometry import backbone_bonds


def test_all_bonds_of_a_chain_are_found(peptide):
    model = peptide(10, -57.0, -47.0)
    bonds = backbone_bonds(model)
    assert len(bonds) == 3 * 10 + 9
    lengths = np.linalg.norm(model.positions_xyz[bonds[:, 0]] - model.positions_xyz[bonds[:, 1]], axis=1)
    expected = np.repeat([1.458, 1.525, 1.231, 1.329], [10, 10, 10, 9])
    np.testing.assert_allclose(lengths, expected, atol=1e-4)


def test_gaps_and_chain_ends_are_not_bonds(peptide):
    model = peptide(10, -57.0, -47.0)
    two_chains = dataclasses.replace(model, chain_id=np.array(["A"] * 4 + ["B"] * 6))
    assert len(backbone_bonds(two_chains)) == 3 * 10 + 8
    positions = model.positions_xyz.copy()
    positions[28:] += 20.0
    assert len(backbone_bonds(model.moved(positions))) == 3 * 10 + 8


def test_stretching_everything_has_its_closed_form(peptide):
    model = peptide(10, -57.0, -47.0)
    lengths = np.repeat([1.458, 1.525, 1.231, 1.329], [10, 10, 10, 9])
    stretched = np.stack([model.positions_xyz * 1.02, model.positions_xyz * 0.97])
    expected = np.sqrt((lengths**2).mean() * (0.02**2 + 0.03**2) / 2)
    assert backbone_bond_deviation(model, stretched) == pytest.approx(expected, abs=1e-5)


def test_moving_one_atom_changes_only_its_bonds(peptide):
    model = peptide(10, -57.0, -47.0)
    carbonyl = model.backbone_index()[4, 2:]
    outwards = model.positions_xyz[carbonyl[1]] - model.positions_xyz[carbonyl[0]]
    positions = model.positions_xyz.copy()
    positions[carbonyl[1]] += 0.39 * outwards / np.linalg.norm(outwards)
    assert backbone_bond_deviation(model, positions[None]) == pytest.approx(0.39 / np.sqrt(39), abs=1e-5)


def test_rigid_motion_keeps_all_bonds(peptide, turn):
    model = peptide(10, -57.0, -47.0)
    assert backbone_bond_deviation(model, turn(np.repeat(model.positions_xyz[None], 4, 0))) < 1e-5


def test_helix_is_favoured_and_impossible_angles_are_outliers(peptide, turn):
    helix, impossible = peptide(12, -57.0, -47.0), peptide(12, 80.0, -100.0)
    both = turn(np.stack([helix.positions_xyz, impossible.positions_xyz, helix.positions_xyz]).astype(np.float64))
    counts = ramachandran(helix, both)
    assert counts is not None
    # Only the first and the last residue lack an angle.
    assert counts.evaluated.tolist() == [10, 10, 10]
    assert counts.outliers.tolist() == [0, 10, 0]
    assert counts.percent.tolist() == [0.0, 100.0, 0.0]


@pytest.mark.parametrize(("residue", "outliers"), [("GLY", 0), ("ALA", 10)])
def test_glycine_may_go_where_alanine_may_not(peptide, residue, outliers):
    model = peptide(12, 80.0, -170.0, residue)
    counts = ramachandran(model, model.positions_xyz[None])
    assert counts is not None
    assert counts.outliers.tolist() == [outliers]


def test_torn_chain_shows_in_the_residues_evaluated(peptide):
    model = peptide(12, -57.0, -47.0)
    positions = np.repeat(model.positions_xyz[None], 2, axis=0)
    positions[1, 24:] += 1.5  # between residues 6 and 7, each of which loses one angle
    counts = ramachandran(model, positions)
    assert counts is not None
    assert counts.evaluated.tolist() == [10, 8]


def test_chains_do_not_run_into_each_other(peptide):
    model = dataclasses.replace(peptide(12, -57.0, -47.0), chain_id=np.array(["A"] * 6 + ["LONG"] * 6))
    counts = ramachandran(model, model.positions_xyz[None])
    assert counts is not None
    assert counts.evaluated.tolist() == [8]


def test_one_bad_residue_is_one_of_ten(peptide):
    # psi of one residue of a helix turned by 103 degrees, where nothing is seen; 10 of 12 residues have both angles.
    model = peptide(12, -57.0, -47.0)
    mixed = dataclasses.replace(model, residue_number=np.ones(12, dtype=int))  # equal numbers must not merge residues
    positions = model.positions_xyz.astype(np.float64)
    axis_from, axis_to = positions[model.backbone_index()[5, 1]], positions[model.backbone_index()[5, 2]]
    twisted = _rotated_after(positions, 5, axis_from, axis_to, np.radians(-103.0))
    counts = ramachandran(mixed, twisted[None])
    assert counts is not None
    assert counts.percent[0] == pytest.approx(10.0)


def _rotated_after(positions, residue, start, end, angle):
    """Turn psi of `residue`: its O and all later residues rotate about CA-C."""
    axis = (end - start) / np.linalg.norm(end - start)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    moved = positions.copy()
    moved[4 * residue + 3 :] = (positions[4 * residue + 3 :] - end) @ rotation.T + end
    return moved


def test_without_cctbx_there_is_no_number(peptide, monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    model = peptide(5, -57.0, -47.0)
    with caplog.at_level(logging.WARNING):
        assert ramachandran(model, model.positions_xyz[None]) is None
    assert "pip install cctbx-base" in caplog.text


def test_a_failing_program_is_one_line(peptide, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    model = peptide(5, -57.0, -47.0)
    with pytest.raises(StructureError, match="ramalyze failed with exit code 1: no message"):
        ramachandran(model, model.positions_xyz[None])
