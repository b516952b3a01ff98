"""The measure that models are judged by where their truth is known."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import real_maps
from benchmarks.real_maps import Case, _off_motions, _on, _rmsd
from cryofound.errors import SourceError
from cryofound.structure.chains import residues_of
from tests.made_proteins import made_protein, random_rotation


def test_positions_are_compared_where_they_lie_over_the_residues_that_both_have():
    model = made_protein(40)
    truth = residues_of(model.moved(model.positions_xyz + [0.0, 2.0, 0.0]), np.arange(5, 40))
    assert _rmsd(model, truth) == pytest.approx(2.0, abs=1e-4)
    assert _rmsd(truth, model) == pytest.approx(2.0, abs=1e-4)


def test_truth_is_laid_on_the_reference():
    model = made_protein(40)
    elsewhere = model.moved(model.positions_xyz @ random_rotation(2).T + [30.0, 0.0, -9.0])
    assert _rmsd(_on(elsewhere, model), model) < 1e-3


@pytest.mark.shared
def test_a_case_that_there_is_not_is_named_beside_those_that_there_are(tmp_path, monkeypatch, shared_data):
    monkeypatch.setenv("CRYOFOUND_SHARED", str(shared_data.parent))
    with pytest.raises(SourceError, match="no case kinesine; there are kinesin, tubulin"):
        real_maps.measure(tmp_path, ["kinesine"])


def test_the_motion_of_a_domain_is_told_apart_from_what_happens_within_it():
    reference = made_protein(40)
    late = reference.residue_index >= 20
    turned = np.where(
        late[:, None], reference.positions_xyz @ random_rotation(5).T + [8.0, 0.0, 3.0], reference.positions_xyz
    )
    truth = reference.moved(turned)
    shifted = truth.moved(turned + 0.7 * late[:, None] * np.array([0.0, 1.0, 0.0]))
    noise = np.random.default_rng(0).normal(0, 0.5, turned.shape)
    shaken = truth.moved(turned + noise)
    case = Case(Path("reference.cif"), (), domains={"early": ((1, 20),), "late": ((21, 30), (31, 40))})
    still, moved, loose = (_off_motions(case, reference, each, truth) for each in (truth, shifted, shaken))
    assert still == pytest.approx({"early": 0, "late": 0}, abs=1e-3)
    assert moved == pytest.approx({"early": 0, "late": 0.7}, abs=1e-3)
    assert _rmsd(shaken, truth) > 0.8 > 0.5 > max(loose.values())
