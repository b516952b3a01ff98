import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from cryofound.errors import StoreError
from cryofound.evaluation.metrics import evaluate_system
from cryofound.evaluation.scores import (
    ensemble_table,
    evaluate_ensemble,
    flat_metrics,
    read_scores,
    series_metrics,
    state_table,
    system_metrics,
    write_scores,
)


@pytest.fixture(scope="module")  # cctbx takes seconds
def scored(peptide, make_system):
    reference = peptide(12, -57.0, -47.0)
    hinge = np.where(reference.residue_index < 6, 0.0, 4.0)[:, None] * np.array([0.0, 0.0, 1.0])
    truth = np.stack([reference.positions_xyz + hinge, reference.positions_xyz - hinge])
    samples = reference.positions_xyz + np.array([1.0, 0.5, -1.0])[:, None, None] * hinge
    train = make_system(reference, truth)
    held_out = make_system(peptide(12, 80.0, -100.0), truth, split="held_out")
    states = evaluate_system(train, samples, samples[1:2]) + evaluate_system(held_out, samples[:1], samples)
    return states, [evaluate_ensemble(train, samples), evaluate_ensemble(held_out, samples)]


def test_metrics_are_means_of_their_split(scored):
    states, ensembles = scored
    metrics = flat_metrics(states, ensembles)
    held_out = [score for score in states if score.split == "held_out"]
    assert metrics["scores/held_out_recall_rmsd"] == pytest.approx(np.mean([score.recall_rmsd for score in held_out]))
    assert metrics["scores/train_recall_rmsd"] == states[0].recall_rmsd
    assert metrics["scores/validation_static_rmsd"] == states[1].static_rmsd
    assert metrics["scores/held_out_least_nearest_count"] == 0.0
    assert all(isinstance(value, float) for value in metrics.values())


def test_family_has_the_mean_of_its_systems(scored):
    states, (train, held_out) = scored
    # one system with two states and one with a single one weigh the same
    states = [dataclasses.replace(score, system_id="left out") for score in states[2:]] + states[:2]
    held_out = dataclasses.replace(held_out, system_id="left out")
    other = dataclasses.replace(train, system_id="alone", family="other", diversity=7.0)
    metrics = flat_metrics(states[1:], [train, held_out, other])
    means = system_metrics(states[1:], [train, held_out, other])
    both = [means[name]["scores/recall_rmsd"] for name in (train.system_id, "left out")]
    assert both == pytest.approx([np.mean([score.recall_rmsd for score in states[2:]]), states[1].recall_rmsd])
    assert metrics["family/peptides/recall_rmsd"] == pytest.approx(np.mean(both))
    assert metrics["family/peptides/held_out_recall_rmsd"] == states[1].recall_rmsd
    assert metrics["family/other/diversity"] == 7.0
    assert "family/other/recall_rmsd" not in metrics
    assert not [name for name in metrics if name.startswith("family/other/held_out")]


def test_series_has_its_states_for_steps(scored):
    states, _ = scored
    series = series_metrics(states[:2], states[0].system_id)
    assert [step for step, _ in series] == [0, 1]
    assert [row["states/static_rmsd"] for _, row in series] == [score.static_rmsd for score in states[:2]]
    assert series_metrics(states, "another") == []


def test_excess_of_outliers_is_against_the_own_reference(scored):
    _, (train, held_out) = scored
    # The samples are helices broken at one hinge; the second reference is made of outliers alone.
    assert (train.ramachandran_outliers_reference, held_out.ramachandran_outliers_reference) == (0.0, 100.0)
    assert train.ramachandran_excess == train.ramachandran_outliers
    assert held_out.ramachandran_excess == held_out.ramachandran_outliers - 100.0
    assert train.backbone_bond_rms > 0.3


def test_scores_survive_the_file(scored, tmp_path):
    path = tmp_path / "deep" / "scores.json"
    write_scores(path, *scored)
    assert read_scores(path) == scored
    before = path.read_bytes()
    write_scores(path, *scored)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["scores.json"]


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ('{"schema_version": 99}', "schema version 99")])
def test_damaged_file_is_named(tmp_path, text, message):
    path = tmp_path / "scores.json"
    with pytest.raises(StoreError, match=r"scores\.json: no such file"):
        read_scores(path)
    path.write_text(text)
    with pytest.raises(StoreError, match=message):
        read_scores(path)


def test_table_shows_every_number(scored):
    states, ensembles = scored
    printed = io.StringIO()
    console = Console(file=printed, width=160)
    console.print(state_table(states), ensemble_table(ensembles))
    text = printed.getvalue()
    for score in states:
        row = [f"{score.recall_rmsd:.2f}", f"{score.static_rmsd:.2f}", f"{score.normal_modes_rmsd:.2f}"]
        counts = f"{score.nearest_count} of {score.n_samples}"
        assert any(
            all(cell in line for cell in [*row, counts, score.split.replace("_", " ")]) for line in text.splitlines()
        )
    assert "100.0" in text
