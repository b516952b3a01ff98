"""Folds that leave out all there is, each once and whole, and numbers of scores that were made up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks.families import FLOORS, FOLDS, LIMITS, SYSTEMS_LEFT_OUT, fold_entries, gather
from benchmarks.families_scores import FoldScores, flat_metrics, losses, score_fold, score_table
from cryofound.catalog.entry import CatalogEntry, load_entries
from cryofound.catalog.files import write_entry
from cryofound.config import Recipe
from cryofound.ensemble.store import open_store
from cryofound.errors import RecipeError, StoreError
from cryofound.evaluation.motion import MotionScore, SpreadScore
from data_pipeline.ingest import ingest
from data_pipeline.plan import make_plan
from data_pipeline.streaming import own_stream
from tests.pipeline.conftest import catalog

FAMILIES = ("gpcr_class_a", "ras", "hsp90_ntd", "adenylate_kinase", "abl_kinase", "serca")
__all__ = ["catalog"]  # the fixture of the pipeline's tests


@pytest.fixture(scope="module")
def entries(repository: Path) -> list[CatalogEntry]:
    folders = ["calmodulin", *(f"families/{name}" for name in FAMILIES)]
    return load_entries([str(repository / f"configs/catalog/{folder}/*.yaml") for folder in folders])


def test_every_system_and_conformer_is_left_out_once_but_what_a_family_stands_on(entries) -> None:
    systems: Counter[str] = Counter()
    conformers: Counter[tuple[str, str]] = Counter()
    for fold in FOLDS:
        chosen = fold_entries(entries, fold)
        systems.update(entry.system_id for entry in chosen if entry.split == "held_out")
        conformers.update(
            (entry.system_id, state.state_id)
            for entry in chosen
            for state in entry.states
            if state.split == "validation"
        )
    single = {"adk_ecoli", "abl1", "serca1a"}
    assert set(systems) == {entry.system_id for entry in entries} - single - {"1EXR"}
    assert set(systems.values()) == set(conformers.values()) == {1}
    hidden = {entry: [name for system, name in conformers if system == entry] for entry in single}
    for entry in entries:
        if entry.system_id in single:
            first = entry.states[0].state_id.removesuffix("_4A")  # the reference's own
            rest = {state.state_id for state in entry.states if not state.state_id.startswith(first)}
            assert set(hidden[entry.system_id]) == rest


def test_both_resolutions_of_a_conformer_are_left_out_together(entries) -> None:
    for fold in FOLDS:
        for entry in fold_entries(entries, fold):
            splits = {state.state_id[:-3]: set() for state in entry.states}
            for state in entry.states:
                splits[state.state_id[:-3]].add(state.split)
            if entry.family != "calmodulin":
                assert {len(each) for each in splits.values()} == {1}


def test_close_pairs_are_never_left_out_together_and_every_fold_is_a_catalog(entries, tmp_path: Path) -> None:
    for fold in FOLDS:
        assert not {"b1ar", "b2ar"} <= SYSTEMS_LEFT_OUT[fold]
        assert not {"a1r", "a2ar"} <= SYSTEMS_LEFT_OUT[fold]
        for entry in (chosen := fold_entries(entries, fold)):
            write_entry(tmp_path / str(fold) / f"{entry.system_id}.yaml", entry)
        # Read back, every family has an anchor that trains.
        assert load_entries([str(tmp_path / str(fold) / "*.yaml")]) == sorted(chosen, key=lambda entry: entry.system_id)


def test_a_conformer_that_an_entry_lacks_is_named(entries) -> None:
    (adk,) = [entry for entry in entries if entry.system_id == "adk_ecoli"]
    without = adk.model_copy(update={"states": adk.states[:2]})
    with pytest.raises(RecipeError, match=r"adk_ecoli: no state of conformer 4ake_A to leave out; it has 1ake_A_4A"):
        fold_entries([without], 0)


def motion(system: str, method: str, recovered: float | None, recall: float, static: float = 4.0) -> MotionScore:
    family = "gpcr_class_a" if system in ("b2ar", "kor") else "ras"
    return MotionScore(
        system,
        family,
        "active",
        "held_out",
        method,
        50,
        16,
        recall,
        static,
        0.5,
        None if recovered is None else 2.0,
        None if recovered is None else recovered - 0.05,
        recovered,
    )


def spread(system: str, method: str, distance: float) -> SpreadScore:
    family = "gpcr_class_a" if system in ("b2ar", "kor") else "ras"
    return SpreadScore(system, family, method, distance, distance, 0.01, 3.0, None)


@pytest.fixture
def scores() -> FoldScores:
    rows = {
        "model": [("b2ar", 0.5, 2.0), ("b2ar", 0.3, 3.0), ("kor", 0.2, 3.5), ("hras", 0.1, 4.5)],
        "normal_modes": [("b2ar", 0.1, 3.8), ("kor", 0.3, 3.0), ("hras", 0.0, 4.0)],
        "relatives_field": [("b2ar", 0.35, 3.0), ("kor", 0.1, 3.0), ("hras", 0.0, 4.0)],
    }
    motions = [motion(system, method, share, rmsd) for method, each in rows.items() for system, share, rmsd in each]
    motions += [motion("hras", "model", None, 1.0, static=0.0), motion("nras", "model", None, 0.3, static=0.0)]
    return FoldScores(motions, [spread(system, "model", 2.0) for system in ("b2ar", "kor", "hras", "nras")])


def test_systems_count_once_however_many_conformers_they_have(scores) -> None:
    metrics = flat_metrics(scores)
    assert metrics["gpcr_class_a_recall_rmsd"] == pytest.approx((2.5 + 3.5) / 2)
    assert metrics["gpcr_class_a_recovered_ca"] == pytest.approx((0.4 + 0.2) / 2)
    assert metrics["gpcr_class_a_recovered_moving"] == pytest.approx((0.35 + 0.15) / 2)
    assert metrics["gpcr_class_a_normal_modes_rmsd"] == pytest.approx(3.4)
    assert metrics["gpcr_class_a_relatives_field_recovered_ca"] == pytest.approx((0.35 + 0.1) / 2)
    assert metrics["gpcr_class_a_over_relatives_field"] == pytest.approx((0.05 + 0.1) / 2)
    assert (metrics["gpcr_class_a_systems"], metrics["gpcr_class_a_beats_normal_modes"]) == (2, 1)
    assert metrics["gpcr_class_a_recovered_ca_kor"] == pytest.approx(0.2)
    # Families count alike; conformers that are the reference do not count.
    assert metrics["ras_recall_rmsd"] == 4.5
    assert metrics["recall_rmsd"] == pytest.approx((3.0 + 4.5) / 2)
    assert metrics["wasserstein"] == 2.0
    assert "ramachandran_outliers" not in metrics


def test_a_system_that_should_stay_home_is_held_to_it(scores) -> None:
    assert losses(scores.motions) == pytest.approx({"b2ar": -1.5, "kor": -0.5, "hras": 0.5, "nras": 0.3})
    assert flat_metrics(scores)["worst_loss_vs_static"] == pytest.approx(0.5)


def test_seeds_are_averaged_and_their_spread_told(scores) -> None:
    better = replace(scores, motions=[replace(each, recall_rmsd=each.recall_rmsd - 0.2) for each in scores.motions])
    metrics = gather((0, 2), [flat_metrics(scores), flat_metrics(better)])
    assert metrics["ras_recall_rmsd"] == pytest.approx(4.4)
    assert metrics["ras_recall_rmsd_spread"] == pytest.approx(0.2 / np.sqrt(2))
    assert metrics["seed2_ras_recall_rmsd"] == pytest.approx(4.3)
    assert {*LIMITS, *FLOORS} - {"finetune_step_ratio", "two_worker_speedup"} <= set(metrics)
    alone = flat_metrics(scores) | {"ras_scope_system_rmsd": 5.0}  # of the first seed, as `measure` has it
    assert gather((0, 2), [alone, flat_metrics(better)])["ras_scope_system_rmsd"] == 5.0
    assert "ras_recall_rmsd_spread" not in gather((0,), [flat_metrics(scores)])


def test_a_fold_is_scored_from_its_store_and_samples(catalog: Path, tmp_path: Path) -> None:
    """A held-out system whose relatives make the very motion that it makes, and their states that were left out."""
    recipe = Recipe(name="made", entries=(str(catalog / "*.yaml"),), grid={"box_size": 32, "voxel_size": 4.0})  # type: ignore[arg-type]  # pydantic
    store = ingest(make_plan(recipe, tmp_path / "home"), own_stream)
    with pytest.raises(StoreError, match="no samples of a system"):
        score_fold(store, tmp_path)
    systems = open_store(store)
    for name in "ac":
        np.savez(tmp_path / f"{name}.npz", positions_xyz=systems[name].truth_xyz)
    further = tmp_path / "further"
    further.mkdir()
    np.savez(further / "c.npz", positions_xyz=systems["c"].reference.positions_xyz[None])
    scores = score_fold(store, tmp_path, {"unconditional": further}, official=False)
    found = {(each.system_id, each.conformer, each.method): each for each in scores.motions}
    assert {(system, conformer) for system, conformer, _ in found} == {
        ("a", "between"), ("c", "closed"), ("c", "between"), ("c", "open"),
    }  # fmt: skip
    assert found["c", "open", "model"].recovered_moving == pytest.approx(1, abs=1e-3)
    assert found["c", "open", "model"].recovered_ca == pytest.approx(1, abs=1e-3)
    assert found["c", "open", "static"].recovered_moving == pytest.approx(0, abs=1e-6)
    assert found["c", "open", "unconditional"] == replace(found["c", "open", "static"], method="unconditional")
    assert ("a", "between", "unconditional") not in found
    # a and b are the same protein with the same motion; of its parts shifted whole, nearly all is right.
    nearest = found["c", "open", "nearest_relative"].recovered_moving
    assert nearest is not None
    assert nearest > 0.8
    # Of a, training knows the open state, twice as far as the one left out.
    halfway = found["a", "between", "nearest_relative"].recovered_moving
    assert halfway is not None
    assert abs(halfway) < 0.3
    assert score_table(scores.motions).row_count == 4


@pytest.mark.parametrize("option", [["--folds", "0"], ["--seeds", "1,2"]])
def test_other_benchmarks_have_no_folds(option: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["physics", *option])
    assert "of benchmark families alone" in capsys.readouterr().err
