"""What the viewer is given: positions to a hundredth of an angstrom, ribbons, and less of it where it must be small."""

import base64
import gzip
from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.evaluation.scored_model import ScoredModel
from cryofound.report.viewer_data import viewer_data

BACKBONE = {"N": 1.6, "CA": 2.3, "C": 1.7, "O": 2.0, "CB": 3.3}


def helix(residues: int, shift: float = 0.0) -> ScoredModel:
    """An alpha helix about z: 100 degrees and 1.5 A a residue, CA at 2.3 A; then a water."""
    chain = gemmi.Chain("A")
    for number in range(residues):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(number + 1, " ")
        for row, (name, radius) in enumerate(BACKBONE.items()):
            angle = np.radians(100 * number + 15 * row)
            residue.add_atom(
                atom(name, radius * np.cos(angle) + shift, radius * np.sin(angle), 1.5 * number + 0.4 * row)
            )
        chain.add_residue(residue)
    water = gemmi.Residue()
    water.name, water.seqid = "HOH", gemmi.SeqId(residues + 10, " ")
    water.add_atom(atom("O", 9.0 + shift, 0.0, 0.0))
    chain.add_residue(water)
    structure, model = gemmi.Structure(), gemmi.Model("1")
    model.add_chain(chain)
    structure.add_model(model)
    return ScoredModel("helix", Path("helix.cif"), structure)


def atom(name: str, x: float, y: float, z: float) -> gemmi.Atom:
    made = gemmi.Atom()
    made.name, made.element, made.pos = name, gemmi.Element(name[0]), gemmi.Position(x, y, z)
    return made


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(gzip.decompress(base64.b64decode(text)), kind)


def test_positions_come_back_to_half_a_step():
    models = [helix(12), helix(12, 5.0)]
    drawn = viewer_data(models[0], [each.positions_xyz for each in models], [None, None], None).drawn
    for model, state in zip(models, drawn["states"], strict=True):
        back = np.array(drawn["centre"]) + drawn["step"] * unpacked(state["positions"], "<i2").reshape(-1, 3)
        assert np.abs(back - model.positions_xyz).max() < 0.0056  # half of 0.01, and the centre's rounding
    names = [drawn["names"][row] for row in unpacked(drawn["atom_name"], "<u2")]
    assert names == [*BACKBONE] * 12 + ["O"]


def test_a_very_large_complex_is_kept_more_coarsely_rather_than_wrapped_around():
    models = [helix(12), helix(12, 2000.0)]
    drawn = viewer_data(models[0], [each.positions_xyz for each in models], [None, None], None).drawn
    back = np.array(drawn["centre"]) + drawn["step"] * unpacked(drawn["states"][1]["positions"], "<i2").reshape(-1, 3)
    assert np.abs(back - models[1].positions_xyz).max() < drawn["step"]
    assert drawn["step"] < 0.05


def test_a_helix_is_drawn_as_one_and_a_water_by_its_atom():
    model = helix(16)
    drawn = viewer_data(model, [model.positions_xyz], [None], None).drawn
    assert drawn["states"][0]["strands"].count("h") >= 12
    assert drawn["residues"]["kind"] == "p" * 16 + "l"
    assert drawn["residues"]["label"][-1] == "A/26 HOH"


def test_a_path_is_drawn_from_its_ribbon_atoms_and_everything_that_is_no_protein():
    model = helix(8)
    path = np.stack([model.positions_xyz + [step, 0.0, 0.0] for step in range(7)])
    drawn = viewer_data(model, [model.positions_xyz, helix(8, 6.0).positions_xyz], [None, None], path).drawn
    rows = unpacked(drawn["ribbon"], "<i4")
    names = [each.atom.name for each in model.structure[0].all()]
    assert [names[row] for row in rows] == ["CA", "O"] * 8 + ["O"]
    frames = drawn["step"] * unpacked(drawn["path"]["positions"], "<i2").reshape(7, -1, 3) + drawn["centre"]
    assert np.abs(frames - path[:, rows]).max() < 0.0056
    assert drawn["path"]["place"] == pytest.approx(np.linspace(0, 1, 7), abs=1e-4)


def test_budgets_leave_out_side_chains_and_frames_and_say_so():
    models = [helix(8), helix(8, 6.0)]
    path = np.stack([models[0].positions_xyz] * 31)
    found = viewer_data(
        models[0],
        [each.positions_xyz for each in models],
        [None, None],
        path,
        states_budget=6 * 2 * 35,
        path_budget=6 * 17 * 10,
    )
    rows = unpacked(found.drawn["atom_name"], "<u2")
    assert [found.drawn["names"][row] for row in rows] == ["N", "CA", "C", "O"] * 8 + ["O"]
    place = found.drawn["path"]["place"]
    assert len(place) == 10
    assert (place[0], place[-1]) == (0.0, 1.0)
    kept = unpacked(found.drawn["ribbon"], "<i4")  # rows of what is drawn
    assert [found.drawn["names"][rows[row]] for row in kept] == ["CA", "O"] * 8 + ["O"]
    assert found.left_out[0].startswith("side chains")
    assert found.left_out[1] == "frames of the path: 10 of 31 are drawn"
