"""A data set that starts from a registered model: which weights it has in the end, and what is refused.

Every step is that of jobs/pretrain.py, in this process: Ray adds nothing to what is asked here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from safetensors.numpy import load_file

from cryofound import tracking
from cryofound.config import Recipe, load_recipe
from cryofound.ensemble.store import open_store
from cryofound.errors import RecipeError
from cryofound.evaluation.scores import write_scores
from cryofound.manifest import publishing
from cryofound.registry import fetch_model
from cryofound.sampling.flow_model import load_flow_model
from cryofound.sampling.zero_shot import sample_system
from cryofound.training.checkpoints import WEIGHTS, load_export_config
from cryofound.training.finetuning import find_pretrained
from cryofound.training.scope import groups
from data_pipeline.ingest import ingest
from data_pipeline.plan import make_plan
from data_pipeline.streaming import own_stream
from jobs.ensembles import SCORES
from jobs.pretrain import fetch_start, register
from jobs.training import export_config, make_stage1, make_stage2, train_here

SHORT = {
    "stage1": {
        "steps": 10, "batch_size": 2, "warmup_steps": 2, "checkpoint_every": 10, "validate_every": 0,
        "stereochemistry_weight": 0,
    },
    "stage2": {
        "steps": 10, "batch_size": 4, "warmup_steps": 2, "checkpoint_every": 10, "validate_every": 0,
        "width": 16, "depth": 1, "heads": 2,
    },
    "sampling": {"samples": 2, "solver_steps": 2, "repair": {"iterations": 0}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_settings_of_torch() -> Iterator[None]:
    """What `train_here` sets for good ends with the test."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def pretrained(recipe: Recipe, home: Path) -> tuple[Path, Path]:
    """The finished folders of both stages of a recipe."""
    start = fetch_start(recipe, home)
    store = ingest(make_plan(recipe, home), own_stream)
    (group,) = groups("all", open_store(store))

    def trained(name: str, make: Callable) -> Path:
        with publishing(home / f"{name}-{recipe.name}") as partial:
            train_here(make, partial, recipe.engine, recipe.seed, export_config(recipe, group))
        return home / f"{name}-{recipe.name}"

    stage1 = trained("stage1", lambda: make_stage1(recipe, store, group, start=start))
    return stage1, trained("stage2", lambda: make_stage2(recipe, store, stage1, group, start=start))


@pytest.mark.slow
def test_a_recipe_starts_from_a_registered_model(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    first = load_recipe(tiny_recipe(recipe=SHORT))
    stage1, stage2 = pretrained(first, home)
    run = tracking.open_run(home, "cryofound", first.name, "0", {})
    store = ingest(make_plan(first, home), own_stream)
    write_scores(tmp_path / "scores" / SCORES, [], [])
    register(first, run, store, stage1, stage2, tmp_path / "scores", home)
    client = MlflowClient(tracking_uri=run.uri, registry_uri=run.uri)
    client.set_registered_model_alias("cryofound", "production", "1")

    start = {"model": "models:/cryofound@production", "train": "residual"}
    both = load_recipe(tiny_recipe(entry={"split": "train"}, recipe={**SHORT, "name": "both", "start": start}))
    tuned1, tuned2 = pretrained(both, home)
    ids = load_export_config(tuned2)["training_ids"]
    assert ids == ["one", "two"]
    assert (tuned2 / WEIGHTS).read_bytes() == (stage2 / WEIGHTS).read_bytes()
    was, now = load_file(stage1 / WEIGHTS), load_file(tuned1 / WEIGHTS)
    assert {name for name in was if was[name].tobytes() != now[name].tobytes()} == {"system_residual.weight"}
    assert [len(side["system_residual.weight"]) for side in (was, now)] == [1, 2]
    assert now["system_residual.weight"].any(axis=1).all()
    model = load_flow_model(both, ids, tuned1, tuned2)
    system = open_store(ingest(make_plan(both, home), own_stream))["two"]
    assert sample_system(model, system, 0).shape == (2, system.reference.n_atoms, 3)

    # one model by any name is one start
    (folder,) = home.glob("start-*")
    for number, uri in enumerate(("models:/cryofound@latest", "models:/cryofound/1", f"runs:/{run.run_id}/model")):
        assert find_pretrained(fetch_model(home, uri, tmp_path / str(number))).identity() == (
            find_pretrained(folder).identity()
        )

    # refused before anything is made of the data
    for name in ("cryofound@staging", "unheard-of@production", "cryofound/7"):
        with pytest.raises(RecipeError, match=f"models:/{name}: no .*; `cryofound models"):
            fetch_start(_starting(both, f"models:/{name}"), home)
    coarse = both.model_copy(update={"grid": both.grid.model_copy(update={"voxel_size": 3.0})})
    with pytest.raises(RecipeError, match=r"@production: its grid.voxel_size is 2.0, the recipe's 3.0; give"):
        fetch_start(coarse, home)


def _starting(recipe: Recipe, model: str) -> Recipe:
    return recipe.model_validate(recipe.model_dump() | {"start": {"model": model}})
