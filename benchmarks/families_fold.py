"""One fold of the families benchmark in one process: the steps of jobs/pretrain.py without a cluster around them.

    python -m benchmarks.families_fold RECIPE HOME [--alone]

Folds run side by side; as many Ray heads would be in each other's way.
"""

import sys
from functools import partial
from pathlib import Path

from cryofound.building.guides import place_guides
from cryofound.config import Recipe, load_recipe
from cryofound.ensemble.store import open_store
from cryofound.ensemble.system import has_unseen
from cryofound.errors import CryoFoundError
from cryofound.sampling.flow_model import load_flow_model
from cryofound.sampling.zero_shot import sample_ensemble
from cryofound.training.loop import Stage
from cryofound.training.scope import Group, groups
from cryofound.training.stage1 import guided_ids
from data_pipeline.ingest import ingest
from data_pipeline.plan import make_plan
from data_pipeline.streaming import own_stream
from jobs.ensembles import write_ensemble_file
from jobs.guides import GUIDE
from jobs.progress import counting, following
from jobs.steps import step
from jobs.training import CHECKPOINTS, export_config, make_stage1, make_stage2, train_here


def run(recipe: Recipe, home: Path, *, alone: bool = False) -> None:
    """Store, stage 1, stage 2, samples of what training did not see, and the same from the unconditional flow.

    They are `<home>/store-*`, `stage1-*`, `stage2-*`, `sample-*` and `ensembles/unconditional`; what is finished is
    skipped, and a stage goes on from its last checkpoint. With `alone` also `ensembles/scope_system`: the samples of
    training systems with left-out states, each from networks of its own that took the steps of one family among all.
    """
    store = ingest(make_plan(recipe, home), own_stream, report=counting("store"))
    systems = open_store(store)
    (group,) = groups("all", systems)
    stage1, stage2 = _trained(recipe, home, store, group)
    step(home, "sample", [store.name, recipe.model_dump(mode="json")], partial(draw, recipe, store, stage1, stage2))
    ensembles = home / "ensembles"
    untold = recipe.model_copy(update={"sampling": recipe.sampling.model_copy(update={"guidance": 0.0})})
    draw(untold, store, stage1, stage2, _made(ensembles / "unconditional"))
    if not alone:
        return
    families = len({systems[name].family for name in group.training_ids})
    fewer = {name: {"steps": getattr(recipe, name).steps // families} for name in ("stage1", "stage2")}
    short = recipe.model_copy(
        update={name: getattr(recipe, name).model_copy(update=update) for name, update in fewer.items()}
    )
    for name in group.training_ids:
        if has_unseen(systems[name]):
            own = Group("", (name,))
            folders = _trained(short, home, store, own, f"{name}-")
            draw(short, store, *folders, _made(ensembles / "scope_system"), own)


def _trained(recipe: Recipe, home: Path, store: Path, group: Group, prefix: str = "") -> tuple[Path, Path]:
    """The folders of both stages of a group."""

    def train(name: str, make: partial[Stage], folder: Path) -> None:
        with following(folder, name, getattr(recipe, name).steps, lambda rows: None):
            train_here(make, folder, recipe.engine, recipe.seed, export_config(recipe, group))
        for each in sorted((folder / CHECKPOINTS).rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
        (folder / CHECKPOINTS).rmdir()

    inputs = [store.name, recipe.model_dump(mode="json")]
    placed = guides(recipe, home, store)
    make = partial(make_stage1, recipe, store, group, guides=placed)
    stage1 = step(home, f"{prefix}stage1", inputs, partial(train, "stage1", make))
    follow = partial(make_stage2, recipe, store, stage1, group)
    return stage1, step(home, f"{prefix}stage2", inputs, partial(train, "stage2", follow))


def guides(recipe: Recipe, home: Path, store: Path) -> Path | None:
    """As `jobs.guides.place`, one system after the other."""

    guided = guided_ids(recipe, open_store(store))

    def make(folder: Path) -> None:
        for name in guided:
            place_guides(store, GUIDE, folder, name)
            print(f"guides {name}", flush=True)

    return step(home, "guides", [store.name, GUIDE, guided], make) if guided else None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def draw(recipe: Recipe, store: Path, stage1: Path, stage2: Path, folder: Path, group: Group | None = None) -> None:
    """Write `<system>.npz` (as jobs/ensembles.py) of every system that training did not see whole.

    Of a `group` that is given, its own systems alone.
    """
    systems = open_store(store)
    (everyone,) = groups("all", systems)
    model = load_flow_model(recipe, (group or everyone).training_ids, stage1, stage2)
    for name, system in systems.items():
        if has_unseen(system) and (group is None or name in group.training_ids):
            write_ensemble_file(folder, name, sample_ensemble(model, system, recipe.seed))
            print(f"sample {name} guidance={recipe.sampling.guidance:g}", flush=True)


if __name__ == "__main__":
    try:
        run(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), alone="--alone" in sys.argv[3:])
    except CryoFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
