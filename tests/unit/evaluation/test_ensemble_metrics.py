"""Ensembles whose distance from their states is known: the states themselves, renamed, turned, left out."""

from pathlib import Path

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.evaluation import ensemble_metrics, sample_file
from cryofound.evaluation.ensemble_metrics import (
    EnsembleScore,
    Frame,
    TargetState,
    score_ensemble,
    state_metrics,
    target_state,
)
from cryofound.evaluation.sample_file import gather, in_one_frame
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import residues_of
from tests.made_complexes import elsewhere, made_ring, reordered
from tests.made_proteins import made_protein

ANGLES = (0.0, 20.0, 50.0)
HINGED = [made_protein(60, hinge_degrees=angle) for angle in ANGLES]
FIRST_LOBE = np.arange(60) < 30


def scored(
    tmp_path: Path,
    models: list[AtomicModel],
    states: list[AtomicModel],
    populations: tuple[float, ...] = (1.0, 1.0, 1.0),
    core: np.ndarray | None = None,
) -> tuple[dict[str, float], EnsembleScore, list[TargetState]]:
    samples = gather("samples", ((f"{row}", each) for row, each in enumerate(models)), tmp_path / "samples")
    (samples,) = in_one_frame([samples], models[0])
    frame = Frame.of(samples.model, core)
    targets = [target_state(samples.model, each, f"state {row}", populations[row]) for row, each in enumerate(states)]
    score = score_ensemble(samples, targets, frame)
    return state_metrics(score, targets, frame), score, targets


def test_the_states_themselves_are_reached_wherever_they_lie(tmp_path):
    metrics, score, _ = scored(tmp_path, [elsewhere(each, 2) for each in HINGED], HINGED)
    for name in ("rmsd", "ca_rmsd"):
        for each in ("precision", "recall", "wasserstein"):
            assert metrics[f"{name}_{each}"] == pytest.approx(0, abs=2e-3)
        assert (np.diag(score.to_states[name]) < 2e-3).all()
        np.testing.assert_allclose(score.to_states[name], score.pairs[name], atol=2e-3)
    for name in ("lddt", "ca_lddt"):
        assert metrics[f"{name}_precision"] == pytest.approx(1, abs=1e-6)
        assert metrics[f"{name}_recall"] == pytest.approx(1, abs=1e-6)
        assert 0 < metrics[f"{name}_diversity"] < 0.5
    assert metrics["rmsf_pearson"] == pytest.approx(1, abs=1e-4)
    assert metrics["rmsf_spearman"] > 0.99
    assert metrics["rmsf_rmse"] == pytest.approx(0, abs=1e-3)
    upper = np.triu_indices(3, k=1)
    assert metrics["rmsd_diversity"] == pytest.approx(score.pairs["rmsd"][upper].mean())


def test_populations_weigh_recall_wasserstein_and_fluctuation(tmp_path):
    metrics, score, _ = scored(tmp_path, HINGED[:1], HINGED, populations=(1.0, 0.0, 3.0))
    static = score.to_states["rmsd"][0]
    assert metrics["rmsd_recall"] == pytest.approx(0.75 * static[2], abs=1e-3)
    assert metrics["rmsd_wasserstein"] == pytest.approx(np.sqrt(0.75) * static[2], abs=1e-3)
    assert metrics["rmsd_precision"] == pytest.approx(0, abs=1e-3)
    assert not {"rmsd_diversity", "rmsf_pearson"} & set(metrics)  # one sample has neither
    three, weighed = (tmp_path / name for name in ("three", "weighed"))
    three.mkdir()
    weighed.mkdir()
    repeated, *_ = scored(three, HINGED, [HINGED[0], HINGED[2], HINGED[2]])
    once, *_ = scored(weighed, HINGED, [HINGED[0], HINGED[2]], populations=(1.0, 2.0))
    assert once["rmsf_rmse"] == pytest.approx(repeated["rmsf_rmse"], abs=1e-4)


def test_a_state_counts_by_the_residues_that_it_has(tmp_path):
    part = elsewhere(residues_of(HINGED[2], np.arange(5, 55)), 1)
    metrics, score, (state,) = scored(tmp_path, HINGED, [part])
    assert state.residues == 50
    assert score.to_states["rmsd"][2, 0] == pytest.approx(0, abs=2e-3)
    assert metrics["lddt_recall"] == pytest.approx(1, abs=1e-6)
    with pytest.raises(StructureError, match=r"^x: .*not related"):
        target_state(score.samples.model, made_protein(40, seed=9), "x")


def test_a_core_keeps_still_and_all_of_the_motion_is_the_rest(tmp_path):
    metrics, score, _ = scored(tmp_path, HINGED[:1], [HINGED[2]], core=FIRST_LOBE)
    both = score.samples.model.residue_index
    moved = np.linalg.norm(HINGED[2].positions_xyz - HINGED[0].positions_xyz, axis=1)
    assert moved[FIRST_LOBE[both]].max() < 1e-5
    assert metrics["rmsd_recall"] == pytest.approx(np.sqrt((moved**2).mean()), abs=2e-3)
    (tmp_path / "all").mkdir()
    assert metrics["rmsd_recall"] > scored(tmp_path / "all", HINGED[:1], [HINGED[2]])[0]["rmsd_recall"] + 1
    (tmp_path / "few").mkdir()
    with pytest.raises(StructureError, match="state 0: has 0 residues of the core"):
        scored(tmp_path / "few", HINGED[:1], [residues_of(HINGED[2], np.arange(28, 60))], core=FIRST_LOBE)


def test_names_of_copies_have_no_say(tmp_path):
    straight, bent = (made_ring(4, residues=30, hinge_degrees=angle) for angle in (0.0, 40.0))

    def one_bent(chain: str) -> AtomicModel:
        inside = (straight.chain_id == chain)[straight.residue_index, None]
        return straight.moved(np.where(inside, bent.positions_xyz, straight.positions_xyz))

    states = [reordered(one_bent("B"), "CADB", dict(zip("CADB", "WXYZ", strict=True))), straight]
    metrics, score, _ = scored(tmp_path, [one_bent("A"), one_bent("C"), straight], states)
    np.testing.assert_allclose(score.to_states["rmsd"][:2, 0], 0, atol=3e-3)
    np.testing.assert_allclose(score.to_states["lddt"][:2, 0], 1, atol=1e-6)
    assert score.pairs["rmsd"][0, 1] == pytest.approx(0, abs=3e-3)
    assert score.pairs["lddt"][0, 1] == pytest.approx(1, abs=1e-6)
    assert score.to_states["rmsd"][0, 1] > 1
    assert metrics["rmsd_recall"] == pytest.approx(0, abs=3e-3)


def test_many_samples_are_scored_as_few_and_paired_by_some(tmp_path, monkeypatch, rng):
    noisy = [HINGED[0].moved(HINGED[0].positions_xyz + rng.normal(size=3) + rng.normal(size=(1, 3))) for _ in range(9)]
    models = [each.moved(each.positions_xyz + rng.normal(scale=0.5, size=each.positions_xyz.shape)) for each in noisy]
    (tmp_path / "few").mkdir()
    whole, score, _ = scored(tmp_path, models, HINGED)
    monkeypatch.setattr(sample_file, "CHUNK", 2 * models[0].n_atoms)
    monkeypatch.setattr(ensemble_metrics, "MOST_PAIRED", 3)
    pieces, some, _ = scored(tmp_path / "few", models, HINGED)
    for name, matrix in score.to_states.items():
        np.testing.assert_allclose(some.to_states[name], matrix, atol=1e-9)
        np.testing.assert_array_equal(some.pairs[name], score.pairs[name][np.ix_([0, 4, 8], [0, 4, 8])])
    assert pieces["rmsf_rmse"] == pytest.approx(whole["rmsf_rmse"], abs=1e-6)
