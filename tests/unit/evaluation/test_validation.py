from pathlib import Path

import pytest

from cryofound.evaluation.scored_model import Residue, ScoredModel, read_scored_models
from cryofound.evaluation.validation import molprobity_score, torsion_score
from cryofound.structure.writing import write_ensemble
from tests.made_peptides import made_peptide


def scored(folder: Path, sequence: list[str], shift_cb: float = 0.0) -> ScoredModel:
    """An extended peptide as a file's one model, CB of its second residue moved by angstrom along x."""
    model = made_peptide(sequence)
    positions = model.positions_xyz.copy()
    positions[(model.residue_index == 1) & (model.atom_name == 4), 0] += shift_cb
    write_ensemble(folder / "peptide.cif", model, positions[None])
    return read_scored_models(folder / "peptide.cif")[0]


def test_extended_chain_is_favoured_and_without_reference_data_rotamers_are_not_judged(tmp_path):
    found = torsion_score(scored(tmp_path, ["ALA", "SER", "GLY", "VAL", "ALA"]), None, tmp_path)
    assert (found.rama_outliers, found.rama_favored) == (0.0, 100.0)
    assert list(found.rama) == [Residue("A", n, "", name) for n, name in ((4, "VAL"), (3, "GLY"), (2, "SER"))]
    assert (found.rota, found.rota_outliers) == (None, None)
    assert found.cbeta_outliers == 0
    assert len(found.cbeta) == 4


def test_a_displaced_cbeta_is_found_where_it_is(tmp_path):
    found = torsion_score(scored(tmp_path, ["ALA", "SER", "GLY", "VAL", "ALA"], 0.5), None, tmp_path)
    assert found.cbeta_outliers == 25.0
    assert found.cbeta[Residue("A", 2, "", "SER")] == pytest.approx(0.5, abs=0.1)


def test_molprobity_score_of_a_perfect_model_is_a_half_and_it_grows_with_every_fault():
    assert molprobity_score(0.0, 1.0, 98.0) == 0.5
    assert molprobity_score(6.0, 1.5, 98.0) > molprobity_score(5.0, 1.5, 98.0) > molprobity_score(5.0, 1.0, 98.0) > 1
    assert molprobity_score(5.0, 1.0, 90.0) > molprobity_score(5.0, 1.0, 97.0)
