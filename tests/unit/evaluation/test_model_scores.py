import csv
import json

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.evaluation.map_model import MapModelScore
from cryofound.evaluation.model_scores import ModelScore, score_models, score_table, write_model_scores
from cryofound.evaluation.scored_model import Residue, read_scored_models
from cryofound.evaluation.validation import ClashScore, TorsionScore, molprobity_score
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.shells import ShellCorrelation
from cryofound.structure.writing import write_ensemble
from tests.made_peptides import made_peptide

GRID = Grid((20, 20, 30), 1.5, (-15.0, -15.0, -15.0))
ALA, GLY, SER = (Residue("A", number, "", name) for number, name in ((1, "ALA"), (2, "GLY"), (3, "SER")))


@pytest.fixture
def models(tmp_path):
    peptide = made_peptide(["ALA", "GLY", "SER"])
    write_ensemble(tmp_path / "two.cif", peptide, np.stack([peptide.positions_xyz, peptide.positions_xyz + 0.5]))
    return read_scored_models(tmp_path / "two.cif")


def made_score(model, *, reference_data: bool) -> ModelScore:
    atoms = len(model.positions_xyz)
    fit = MapModelScore(
        0.8, 0.7, 0.6, 0.5, 0.4, 0.3, True, np.arange(atoms, dtype=float), {ALA: 0.9, GLY: 0.5, SER: 0.7},
        ShellCorrelation(np.array([0.1, 0.2]), np.array([0.75, 0.25]), np.ones(2)),
    )  # fmt: skip
    torsion = TorsionScore(
        0.0, 100.0, 50.0 if reference_data else None, 0.0, {GLY: "favored"},
        {SER: "outlier"} if reference_data else None, {ALA: 0.01, SER: 0.02},
    )  # fmt: skip
    clash = ClashScore(12.5, {ALA: 2}, ("SER",)) if reference_data else None
    return ModelScore(model, 3.0, fit, np.where(np.arange(atoms) < 5, 0.5, np.nan), torsion, clash)


def test_numbers_are_flat_and_what_needs_reference_data_is_left_out_without(models, tmp_path):
    write_model_scores(tmp_path / "out", [made_score(models[0], reference_data=True)])
    flat = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert flat["two#1/cc_mask"] == 0.8
    assert flat["two#1/cc_residue_mean"] == pytest.approx(0.7)
    assert flat["two#1/q_score"] == 0.5
    assert flat["two#1/d_fsc_model_05"] == pytest.approx(1 / 0.15)
    assert flat["two#1/molprobity"] == molprobity_score(12.5, 50.0, 100.0)
    assert all(isinstance(value, float) for value in flat.values())
    less = made_score(models[0], reference_data=False).metrics()
    assert {name.removeprefix("two#1/") for name in flat} - set(less) == {"rota_outliers", "clashscore", "molprobity"}


def test_every_residue_has_its_row_empty_where_nothing_was_judged(models, tmp_path):
    scores = [made_score(models[0], reference_data=True), made_score(models[1], reference_data=False)]
    write_model_scores(tmp_path, scores)
    with (tmp_path / "residues.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["model"] for row in rows] == ["two#1"] * 3 + ["two#2"] * 3
    assert rows[0] == {
        "model": "two#1", "chain": "A", "number": "1", "insertion": "", "name": "ALA", "b_factor": "2.0",
        "cc": "0.9000", "q": "0.5000", "rama": "", "rota": "", "clashes": "2", "cbeta": "0.010",
    }  # fmt: skip
    assert [row["clashes"] for row in rows] == ["2", "0", "", "", "", ""]
    assert [row["q"] for row in rows[:3]] == ["0.5000", "", ""]
    assert [row["rota"] for row in rows] == ["", "", "outlier", "", "", ""]
    assert (tmp_path / "fsc.csv").read_text().splitlines()[1] == "two#1,0.10000,0.7500"
    assert not list(tmp_path.glob("*.partial"))


def test_the_table_has_a_dash_where_there_is_no_score(models):
    table = score_table([made_score(models[0], reference_data=False)])
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells[:2] == ["two#1", "0.800"]
    assert cells[-1] == "-"


def test_models_are_scored_side_by_side_each_in_its_own_map(models):
    rng = np.random.default_rng(0)
    maps = [DensityMap(rng.standard_normal(GRID.shape_zyx).astype(np.float32), GRID) for _ in models]
    heard = []
    both = score_models(
        list(zip(models, maps, strict=True)), [4.0, 5.0], None, keep_b=True, processes=2, advance=heard.append
    )
    assert [each.model.name for each in both] == ["two#1", "two#2"]
    assert [each.resolution for each in both] == [4.0, 5.0]
    assert sorted(heard) == ["two#1: map", "two#1: torsions", "two#2: map", "two#2: torsions"]
    (alone,) = score_models([(models[1], maps[1])], [5.0], None, keep_b=True)
    assert alone.metrics() == both[1].metrics()


def test_a_model_outside_its_map_stops_all_before_anything_runs(models):
    here = DensityMap(np.ones(GRID.shape_zyx, np.float32), GRID)
    away = DensityMap(here.values_zyx, Grid(GRID.shape_zyx, 1.5, (400.0, 0.0, 0.0)))
    heard = []
    with pytest.raises(StructureError, match="outside the map"):
        score_models([(models[0], here), (models[1], away)], [4.0, 4.0], None, advance=heard.append)
    assert heard == []
