"""A verdict says more error where there is less to go by, and puts it where things move."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from cryofound.ensemble.system import Outline, System
from cryofound.maps.density_map import Grid
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.members import Member
from cryofound.sampling.newcomer import Relation
from cryofound.sampling.trust import Evidence, Predictor, family_motion, judge, shipped_predictor
from tests.made_proteins import made_protein

GRID = Grid.centred(64, 2.0)
RELATION = Relation("family", "relative", 0.9, 1.0, 1e-50, (("A", "A"),))
PREDICTOR = Predictor(offset=0.0, unlike=1.0, missing=2.0, families=(RELATION.family,))


def newcomer_of(residues: int = 80) -> System:
    reference = made_protein(residues)
    empty = np.zeros((0, reference.n_atoms, 3), dtype=np.float32)
    position = np.arange(residues, dtype=np.float32)
    return System("new", "family", "held_out", reference, position, (), empty, empty[..., 0] > 0, GRID)


def member_of(system: System, displacements: np.ndarray, family: str = "family") -> Member:
    outline = Outline("relative", family, "train", system.reference, system.family_position, (), GRID)
    return Member(outline, displacements.astype(np.float32), np.zeros(2), True, np.ones(len(system.family_position)))


def moved_half(system: System, distance: float) -> np.ndarray:
    """(2, atom, 3): the second half of the residues to and fro along x by `distance`."""
    half = system.reference.residue_index >= system.reference.n_residues // 2
    field = np.zeros((2, system.reference.n_atoms, 3))
    field[0, half, 0], field[1, half, 0] = distance, -distance
    return field


def model_of(*members: Member) -> FlowModel:
    return cast(FlowModel, SimpleNamespace(members=members))


def test_spreads_and_motions_are_those_that_were_put_in() -> None:
    system = newcomer_of()
    member = member_of(system, moved_half(system, 4.0))
    samples = system.reference.positions_xyz + moved_half(system, 2.0)
    draws = samples[None] + np.array([0.3, -0.3])[:, None, None, None] * [0, 0, 1]
    verdict = judge(model_of(member), system, RELATION, samples, draws, PREDICTOR)
    # half of the residues move: root mean square 1 / sqrt 2
    assert verdict.evidence.latent_spread == pytest.approx(2 / np.sqrt(2), abs=1e-4)
    assert verdict.evidence.family_motion == pytest.approx(4 / np.sqrt(2), abs=1e-4)
    assert verdict.evidence.residual_spread == pytest.approx(0.3, abs=1e-4)
    assert verdict.evidence.missing_motion == pytest.approx(0.5, abs=1e-4)
    assert verdict.predicted_error == pytest.approx(np.exp(0.1 + 2 * 0.5), abs=1e-3)


def test_the_uncertainty_has_the_error_for_its_root_mean_square_and_lies_where_it_moves() -> None:
    system = newcomer_of()
    samples = system.reference.positions_xyz + moved_half(system, 2.0)
    member = member_of(system, moved_half(system, 4.0))
    verdict = judge(model_of(member), system, RELATION, samples, samples[None], PREDICTOR)
    assert np.sqrt((verdict.uncertainty**2).mean()) == pytest.approx(verdict.predicted_error)
    np.testing.assert_allclose(verdict.uncertainty[:40], 0, atol=1e-4)
    np.testing.assert_allclose(verdict.uncertainty[40:], np.sqrt(2) * verdict.predicted_error, rtol=1e-4)


def test_motions_of_relatives_count_alike_and_others_not_at_all() -> None:
    system = newcomer_of()
    first, second = (moved_half(system, distance) for distance in (3.0, 4.0))
    many = np.concatenate([first] * 5)
    stranger = member_of(system, moved_half(system, 50.0), "another")
    found = family_motion([member_of(system, many), member_of(system, second), stranger], system)
    np.testing.assert_allclose(found[40:], np.sqrt((9 + 16) / 2), rtol=1e-5)
    np.testing.assert_allclose(found[:40], 0, atol=1e-6)
    assert np.isnan(family_motion([stranger], system)).all()


def test_the_shipped_predictor_never_trusts_less_evidence_more() -> None:
    predictor = shipped_predictor()
    near = Evidence(0.9, 1.0, 2.0, 0.0, 2.0)
    errors = [
        predictor.error(each)
        for each in (near, replace(near, identity=0.5), replace(near, identity=0.5, latent_spread=1.0))
    ]
    assert errors[0] < errors[1] < errors[2]
    assert 0.3 < errors[0] < 1.5
    assert predictor.error(replace(near, latent_spread=9.0)) == predictor.error(near)


def test_grades_and_sentences() -> None:
    system = newcomer_of()
    member = member_of(system, moved_half(system, 4.0))
    still = system.reference.positions_xyz[None] + np.zeros((2, 1, 1))
    wide = system.reference.positions_xyz + moved_half(system, 4.0)

    def found(samples: np.ndarray, relation: Relation = RELATION, predictor: Predictor = PREDICTOR) -> tuple[str, str]:
        verdict = judge(model_of(member), system, relation, samples, samples[None], predictor)
        assert verdict.good == (verdict.grade == "good")
        assert json.loads(json.dumps(verdict.facts()))["grade"] == verdict.grade
        return verdict.grade, " ".join(verdict.sentences)

    grade, text = found(wide)
    assert grade == "good"
    assert "about 1.1 A" in text
    assert "shares 90% of the residues" in text
    grade, text = found(still)
    assert grade == "poor"
    assert "Less than half of the family's motion" in text
    assert found(wide, replace(RELATION, coverage=0.6))[0] == "fair"
    assert found(wide, replace(RELATION, coverage=0.4))[0] == "poor"
    sure, untested = replace(PREDICTOR, missing=0.0), replace(PREDICTOR, missing=0.0, families=())
    assert [found(each, predictor=sure)[0] for each in (wide, still)] == ["good", "fair"]
    assert [found(each, predictor=untested)[0] for each in (wide, still)] == ["fair", "poor"]
    grade, text = found(wide, replace(RELATION, e_value=2.0))
    assert grade == "outside"
    assert "sampled by force" in text
