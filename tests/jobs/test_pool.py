"""Scopes: a pool of fits whose result depends neither on its neighbours nor on what was killed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from cryofound.config import load_recipe
from cryofound.ensemble.store import open_store
from cryofound.errors import TrainingError
from cryofound.manifest import PARTIAL, is_finished
from cryofound.sampling.flow_model import load_flow_model
from cryofound.sampling.zero_shot import sample_system
from cryofound.training.checkpoints import WEIGHTS, load_export_config
from cryofound.training.curve import read_curve
from cryofound.training.loop import Stage
from cryofound.training.scope import Group, groups
from data_pipeline.ingest import ingest
from data_pipeline.plan import make_plan
from data_pipeline.streaming import own_stream
from jobs import pool, training
from jobs.ensembles import read_ensemble
from jobs.pretrain import main
from tests.jobs.killing import Killer
from tests.jobs.toy_stage import ToyStage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_head")]

Recipes = Callable[..., Path]


def toy_of(group: Group) -> Stage:
    """A stage that ends in infinity for the group `wild`, and takes its time for `slow`."""
    return ToyStage(
        learning_rate=1e30 if group.name == "wild" else 1e-2, seconds_per_step=0.05 if group.name == "slow" else 0
    )


def test_killed_task_ends_in_the_weights_of_an_undisturbed_run_under_ray_train(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage1 = {"steps": 60, "batch_size": 2, "warmup_steps": 5, "log_every": 5, "checkpoint_every": 20}
    recipe = load_recipe(tiny_recipe(entry={"split": "train"}, recipe={"stage1": stage1, "scope": "system"}))
    store = ingest(make_plan(recipe, tmp_path / "home"), own_stream)
    make_stage = partial(training.make_stage1, recipe, store)
    pair = groups("system", open_store(store))
    assert pair == [Group("one", ("one",)), Group("two", ("two",))]
    alone = tmp_path / "alone"
    alone.mkdir()
    training.fit(partial(make_stage, Group("", ("one",))), alone, "stage1", recipe.engine, recipe.seed, {})

    folder = tmp_path / "pool"
    killer = Killer(folder / f"one{PARTIAL}", 20, "ray::stage1/one")
    killer.start()
    seen: dict[str, list[float]] = {"one": [], "two": []}
    pool.fit(
        recipe, "stage1", pair, make_stage, folder, lambda group, rows: seen[group.name].extend(r["step"] for r in rows)
    )
    assert killer.killed
    assert not psutil.pid_exists(killer.killed)
    assert seen == {"one": list(range(5, 61, 5)), "two": list(range(5, 61, 5))}
    assert (folder / "one" / WEIGHTS).read_bytes() == (alone / WEIGHTS).read_bytes()
    assert (folder / "two" / WEIGHTS).read_bytes() != (alone / WEIGHTS).read_bytes()
    assert load_export_config(folder / "two")["training_ids"] == ["two"]

    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    capfd.readouterr()
    pool.fit(recipe, "stage1", pair, make_stage, folder, lambda *_: pytest.fail("nothing was to do"))
    assert capfd.readouterr().out == "stage1 groups=2 finished=2\n"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written


def test_one_group_is_refused_another_dies_and_the_third_is_finished(tiny_recipe: Recipes, tmp_path: Path) -> None:
    recipe = load_recipe(tiny_recipe(recipe={"engine": {"threads": 1, "cpus_per_worker": 0.5, "max_failures": 0}}))
    trio = [Group(name, ()) for name in ("calm", "slow", "wild")]
    killer = Killer(tmp_path / f"slow{PARTIAL}", 20, "ray::stage1/slow")
    killer.start()
    with pytest.raises(TrainingError, match=r"stage1 of slow: its task died 1 times .* \(also refused: wild\)"):
        pool.fit(recipe, "stage1", trio, toy_of, tmp_path, lambda *_: None)
    assert [is_finished(group.folder(tmp_path)) for group in trio] == [True, False, False]

    rows: list[float] = []
    pool.fit(recipe, "stage1", trio[:2], toy_of, tmp_path, lambda _, new: rows.extend(row["step"] for row in new))
    assert (tmp_path / "slow" / WEIGHTS).read_bytes() == (tmp_path / "calm" / WEIGHTS).read_bytes()


def test_scope_system_samples_each_system_from_its_own_model_and_leaves_the_held_out_one_out(
    tiny_recipe: Recipes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    short = {
        "stage1": {"steps": 4, "batch_size": 2, "guide_weight": 0.05, "log_every": 1},
        "stage2": {"steps": 4, "width": 16, "depth": 1, "heads": 2},
        "sampling": {"samples": 4, "solver_steps": 5, "pool": 12},
    }
    recipe = tiny_recipe(recipe={**short, "scope": "system"})
    assert main(["--recipe", str(recipe), "--home", str(home)]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert "sample two left out: scope system trained no model for it" in printed
    assert any(line.startswith("step=register skipped=scope: one model per system, in ") for line in printed)
    assert [path.name for path in home.glob("sample-*/*.npz")] == ["one.npz"]
    (stage1,), (stage2,) = home.glob("stage1-*/one"), home.glob("stage2-*/one")
    assert not list(home.glob("stage?-*/two"))
    # a model was placed into each map of it, near which its training began to go
    with np.load(next(home.glob("guides-*/one.npz")), allow_pickle=False) as placed:
        assert placed["state"].tolist() == [0, 1]
    guided = [row["guide"] for row in read_curve(stage1)]
    assert 0 < guided[-1] < guided[0]
    # what was drawn is what the system's own pair of networks draws
    (store,), (samples,) = home.glob("store-*"), home.glob("sample-*")
    system = open_store(store)["one"]
    loaded = load_recipe(recipe)
    drawn = sample_system(load_flow_model(loaded, ["one"], stage1, stage2), system, loaded.seed)
    kept = read_ensemble(samples, "one")
    np.testing.assert_array_equal(kept.positions_xyz, drawn)
    assert kept.share.sum() == pytest.approx(1)
