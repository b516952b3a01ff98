"""What is told to MLflow, without a training: rows of curves, choice of systems."""

from collections import Counter
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from cryofound import tracking
from cryofound.config import Recipe
from cryofound.ensemble.system import System
from cryofound.maps.density_map import Grid
from cryofound.training.scope import Group
from jobs.recording import Record, in_turn, stage_metrics
from tests.made_proteins import made_protein

ROW = {
    "step": 20.0,
    "total": 0.3,
    "ncc": 0.7,
    "gradient_norm": 2.0,
    "learning_rate": 1e-3,
    "samples_per_second": 9.0,
    "memory_gib": 1.5,
    "seconds_left": 60.0,
    "validation/ncc": 0.6,
    "validation/ncc/hinges": 0.55,
    "validation/ncc/hinges/one": 0.5,
}


def test_metrics_of_a_stage_lie_in_sections_and_those_of_systems_elsewhere() -> None:
    assert stage_metrics(ROW) == {
        "training/total": 0.3,
        "training/ncc": 0.7,
        "optimiser/gradient_norm": 2.0,
        "optimiser/learning_rate": 1e-3,
        "machine/samples_per_second": 9.0,
        "machine/memory_gib": 1.5,
        "validation/ncc": 0.6,
        "validation/ncc/hinges": 0.55,
    }


def made_system(name: str, family: str, split: str) -> System:
    nowhere = np.zeros((0, 1, 3), dtype=np.float32)
    return System(
        system_id=name,
        family=family,
        split=split,  # type: ignore[arg-type]  # a plain str from the tests
        reference=made_protein(4),
        family_position=np.arange(4.0),
        states=(),
        truth_xyz=nowhere,
        truth_mask=nowhere[..., 0] > 0,
        grid=Grid.centred(16, 2.0),
    )


def systems(counts: dict[tuple[str, str], int]) -> dict[str, System]:
    """So many systems of each (family, split)."""
    return {
        f"{family}-{split}-{number:03d}": made_system(f"{family}-{split}-{number:03d}", family, split)
        for (family, split), count in counts.items()
        for number in range(count)
    }


def test_every_family_has_its_turn() -> None:
    many = systems({("large", "train"): 9, ("small", "train"): 1, ("small", "held_out"): 2, ("odd", "held_out"): 1})
    chosen = in_turn(many, 6, first="held_out")
    assert [name.rsplit("-", 1)[0] for name in chosen[:3]] == ["odd-held_out", "small-held_out", "small-held_out"]
    assert Counter(name.split("-")[0] for name in chosen[3:]) == {"large": 2, "small": 1}
    assert in_turn(many, 3, first="train") == ["large-train-000", "small-train-000", "large-train-001"]
    assert in_turn(many, 99, first="train") == in_turn(dict(reversed(many.items())), 99, first="train")


def test_curves_of_groups_and_systems_are_told_once_by_two_submissions(tmp_path: Path) -> None:
    recipe = Recipe(name="told", entries=("none.yaml",), scope="family")
    known = systems({("hinges", "train"): 1})
    (system,) = known
    (group,) = [Group("hinges", (system,))]
    column = f"validation/ncc/hinges/{system}"
    rows = [ROW | {"step": float(step), column: 0.1 * step} for step in (2, 4, 6)]
    rows.insert(1, {"step": 3.0, "total": 0.3})  # validation is not made every time
    for last, status in ((2, "KILLED"), (4, "FINISHED")):
        record = Record(recipe, tracking.open_run(tmp_path, "told", recipe.name, "0123", {}))
        record.store(tmp_path / "store-1", known)
        record.rows("stage1", group, rows[:last])
        record.end(status)  # type: ignore[arg-type]  # a plain str from the loop
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "told"]
    found = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(found) == {"told", "stage1/hinges", f"hinges/{system}"}
    assert found["stage1/hinges"].data.tags["group"] == "hinges"
    assert {run.info.status for run in found.values()} == {"FINISHED"}

    def points(name: str, metric: str) -> dict[int, float]:
        history = client.get_metric_history(found[name].info.run_id, metric)
        assert len({point.step for point in history}) == len(history)
        return {point.step: point.value for point in history}

    assert points("stage1/hinges", "training/total") == dict.fromkeys((2, 3, 4, 6), 0.3)
    assert points(f"hinges/{system}", "stage1/ncc") == {2: 0.2, 4: 0.4, 6: 0.1 * 6}
