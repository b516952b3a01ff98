import dataclasses
import json

import pytest

from benchmarks import __main__ as command
from benchmarks.calmodulin import LIMITS, SeedResult, gather
from benchmarks.outcome import Benchmark, kept, write_outcome
from cryofound.errors import TrainingError
from cryofound.evaluation.metrics import StateScore
from cryofound.evaluation.scores import EnsembleScore


def state(system: str, name: str, split: str, recall: float, nearest: int = 8) -> StateScore:
    return StateScore(system, "calmodulin", name, split, 1150, 16, recall, 3.46, 1.5, nearest)  # type: ignore[arg-type]  # str


def seed(number: int, train: tuple[float, float], held_out: tuple[float, float], **scores: float) -> SeedResult:
    ensemble = EnsembleScore("4CLN", "calmodulin", "held_out", 16, 4.0, 0.01, 6.0, 6.0, 1.0)
    return SeedResult(
        seed=number,
        seconds=100.0 * (number + 1),
        states=[
            state("1EXR", "1EXR_a", "train", train[0]),
            state("1EXR", "1EXR_b", "train", train[1], nearest=5 + number),
            state("4CLN", "4CLN_a", "held_out", held_out[0]),
            state("4CLN", "b", "held_out", held_out[1]),
        ],
        ensembles=[dataclasses.replace(ensemble, **scores)],
    )


@pytest.fixture
def results():
    return [
        seed(0, (0.2, 0.4), (0.5, 0.7), backbone_bond_rms=0.02),
        seed(1, (0.1, 0.1), (0.7, 0.3), ramachandran_outliers=8.5, backbone_bond_rms=0.04),
    ]


def test_means_are_over_seeds(results):
    metrics = gather(results)
    assert metrics["train_rmsd"] == pytest.approx(0.2)
    assert metrics["validation_rmsd_4cln_a"] == pytest.approx(0.6)
    assert metrics["validation_rmsd_4cln_b"] == pytest.approx(0.5)
    assert metrics["seconds"] == 150.0
    assert (metrics["static_rmsd"], metrics["normal_modes_rmsd"]) == (pytest.approx(3.46), pytest.approx(1.5))
    assert metrics["validation_over_normal_modes"] == pytest.approx(0.55 / 1.5)
    assert metrics["seed0_train_rmsd"] == pytest.approx(0.3)
    assert metrics["seed1_validation_rmsd_4cln_a"] == 0.7


def test_the_worst_system_is_not_averaged_away(results):
    metrics = gather(results)
    assert metrics["ramachandran_excess"] == 2.5
    assert metrics["backbone_bond_rms"] == 0.04
    assert metrics["least_nearest_count"] == 5.0


def test_without_cctbx_the_metric_is_missing_not_zero(results):
    blind = {"ramachandran_outliers": None, "ramachandran_outliers_reference": None, "ramachandran_coverage": None}
    bare = [
        dataclasses.replace(result, ensembles=[dataclasses.replace(row, **blind) for row in result.ensembles])
        for result in results
    ]
    assert not [name for name in gather(bare) if name.startswith("ramachandran")]


def test_every_limit_is_a_metric_that_the_benchmark_gives(results):
    twin = [
        dataclasses.replace(
            result,
            states=result.states + [state("5A2H", name, "held_out", 0.5) for name in ("a", "b")],
        )
        for result in results
    ]
    for limits in LIMITS.values():
        assert set(limits) <= set(gather(twin))


@pytest.mark.parametrize(
    ("metric", "value", "verdict"),
    [("rmsd", 0.6, True), ("rmsd", 0.61, False), ("count", 3, True), ("count", 2, False), ("other", 9, None)],
)
def test_limits_and_floors(metric, value, verdict):
    assert kept(Benchmark(lambda work: {}, {"rmsd": 0.6}, {"count": 3}), metric, value) is verdict


# MLflow's own queries use a loader that SQLAlchemy 2.1 is about to drop.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning")
def test_command_writes_prints_and_logs(results, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(command.BENCHMARKS, "calmodulin", Benchmark(lambda work: gather(results), LIMITS["calmodulin"]))
    assert command.main(["calmodulin", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "calmodulin.json").read_text())
    assert written == pytest.approx(gather(results))
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "ramachandran_excess" in line)
    assert "2.5" in row
    assert "<= 1" in row
    assert "no" in row
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("benchmarks")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["calmodulin/train_rmsd"] == pytest.approx(0.2)


def test_failed_job_is_one_line(tmp_path, monkeypatch, capsys):
    def fails(work):
        raise TrainingError("recipe.yaml: the job ended with exit code 7; its log is above")

    monkeypatch.setitem(command.BENCHMARKS, "calmodulin", Benchmark(fails))
    assert command.main(["calmodulin", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: recipe.yaml: the job ended with exit code 7; its log is above\n"
    assert not (tmp_path / "calmodulin.json").exists()


def test_number_that_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"out\.json: not finite: b"):
        write_outcome(tmp_path / "out.json", {"a": 1.0, "b": float("nan")})
    assert not list(tmp_path.iterdir())
