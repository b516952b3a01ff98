"""One fold of the families benchmark in one process: the steps of jobs/pretrain.py without a cluster around them.

    python -m benchmarks.families_fold RECIPE HOME

Folds run side by side; as many Ray heads would be in each other's way.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from cryofound.config import Recipe, load_recipe
from cryofound.ensemble.store import open_store
from cryofound.ensemble.system import has_unseen
from cryofound.errors import CryoFoundError
from cryofound.sampling.zero_shot import load_flow_model, sample_system
from cryofound.training.loop import Stage
from cryofound.training.scope import groups
from data_pipeline.ingest import ingest
from data_pipeline.plan import make_plan
from data_pipeline.streaming import own_stream
from jobs.progress import counting, following
from jobs.steps import step
from jobs.training import CHECKPOINTS, export_config, make_stage1, make_stage2, train_here


def run(recipe: Recipe, home: Path) -> None:
    """Store, stage 1, stage 2, samples of what training did not see, and the same from the unconditional flow.

    They are `<home>/store-*`, `stage1-*`, `stage2-*`, `sample-*` and `ensembles/unconditional`; what is finished is
    skipped, and a stage goes on from its last checkpoint.
    """
    store = ingest(make_plan(recipe, home), own_stream, report=counting("store"))
    (group,) = groups("all", open_store(store))
    trained = [store.name, recipe.model_dump(mode="json")]

    def train(name: str, folder: Path, stage: partial[Stage]) -> None:
        with following(folder, name, getattr(recipe, name).steps, lambda rows: None):
            train_here(stage, folder, recipe.engine, recipe.seed, export_config(recipe, group))
        for each in sorted((folder / CHECKPOINTS).rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
        (folder / CHECKPOINTS).rmdir()

    make = partial(make_stage1, recipe, store, group)
    stage1 = step(home, "stage1", trained, lambda folder: train("stage1", folder, make))
    follow = partial(make_stage2, recipe, store, stage1, group)
    stage2 = step(home, "stage2", trained, lambda folder: train("stage2", folder, follow))
    untold = recipe.model_copy(update={"sampling": recipe.sampling.model_copy(update={"guidance": 0.0})})
    step(home, "sample", trained, partial(draw, recipe, store, stage1, stage2))
    unconditional = home / "ensembles" / "unconditional"
    unconditional.mkdir(parents=True, exist_ok=True)
    draw(untold, store, stage1, stage2, unconditional)


def draw(recipe: Recipe, store: Path, stage1: Path, stage2: Path, folder: Path) -> None:
    """Write `<system>.npz` (positions_xyz, as jobs/ensembles.py) of every system that training did not see whole."""
    systems = open_store(store)
    (group,) = groups("all", systems)
    model = load_flow_model(recipe, group.training_ids, stage1, stage2)
    for name, system in systems.items():
        if has_unseen(system):
            np.savez(folder / f"{name}.npz", positions_xyz=sample_system(model, system, recipe.seed))
            print(f"sample {name} guidance={recipe.sampling.guidance:g}", flush=True)


if __name__ == "__main__":
    try:
        run(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]))
    except CryoFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
