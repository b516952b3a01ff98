"""Pretraining from catalog entries to a registered model; what `ray job submit` runs.

    ray job submit --working-dir . -- python jobs/pretrain.py --recipe configs/pretrain/demo.yaml

Every step writes `<home>/<step>-<digest of its inputs>`; a finished one is skipped, an interrupted one goes on.
"""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import ray
from ray.exceptions import RayTaskError
from rich.console import Console

from cryofound import registry, tracking
from cryofound.config import Recipe, TrackingConfig, digest, load_recipe
from cryofound.ensemble.store import open_store
from cryofound.errors import CryoFoundError, TrackingError
from cryofound.evaluation.scores import ensemble_table, read_scores, state_table, system_metrics
from cryofound.home import default_home
from cryofound.manifest import is_finished
from cryofound.revision import environment, git_revision
from cryofound.sampling.model_folder import KIND, SCHEMA, write_model_folder
from cryofound.training.finetuning import check_alike, find_pretrained
from cryofound.training.loop import Stage
from cryofound.training.scope import Group, groups
from data_pipeline.ingest import ingest
from data_pipeline.plan import make_plan
from data_pipeline.streaming import ray_stream
from jobs import ensembles, guides, pool, reconstructions, training
from jobs.progress import counting, following
from jobs.recording import Record, machines
from jobs.steps import refusal_in, step, stopped


def pretrain(recipe: Recipe, home: Path, record: Record) -> Path:
    """All steps of a recipe in order; the folder with the scores."""
    start = fetch_start(recipe, home)
    from_start = [start] if start else []
    plan = make_plan(recipe, home)
    with nullcontext() if is_finished(plan.store) else record.timing("store"):
        store = ingest(plan, ray_stream, report=counting("store"))
    systems = open_store(store)
    record.store(store, systems)
    shared = groups(recipe.scope, systems)
    placed = guides.place(recipe, home, store, record.timing("guides"))
    make1 = partial(training.make_stage1, recipe, store, start=start, guides=placed)
    stage1 = train(recipe, home, record, "stage1", shared, [store, *from_start, *([placed] if placed else [])], make1)
    if recipe.tracking.pictures:
        draw = record.timing("reconstruct")(partial(reconstructions.draw, recipe, store, stage1))
        drawn = step(home, "reconstruct", [stage1.name, recipe.tracking.pictures], draw)
        for group in shared:
            record.pictures("stage1", group, sorted(group.folder(drawn).glob("*.png")))
    make2 = partial(training.make_stage2, recipe, store, stage1, start=start)
    stage2 = train(recipe, home, record, "stage2", shared, [store, stage1, *from_start], make2)
    draw = record.timing("sample")(partial(ensembles.sample, recipe, store, stage1, stage2))
    samples = step(home, "sample", [stage2.name, recipe.sampling, recipe.seed], draw)
    evaluate = record.timing("evaluate")(partial(ensembles.evaluate, store, samples))
    scores = step(home, "evaluate", [samples.name], evaluate)
    record.scores(scores)
    if recipe.scope != "all":
        print(f"step=register skipped=scope: one model per {recipe.scope}, in {stage1} and {stage2}", flush=True)
        return scores
    record.settle()
    registered = [SCHEMA, scores.name, recipe.tracking.registered_model, record.run.run_id]
    step(home, "register", registered, partial(register, recipe, record.run, store, stage1, stage2, scores))
    return scores


def fetch_start(recipe: Recipe, home: Path) -> Path | None:
    """The pretrained model of a recipe copied into `home`, which all nodes see, in a folder named by its content.

    An alias that moves to another model thus makes other stages. None if the recipe has no `start`.
    """
    if not recipe.start:
        return None
    model = recipe.start.model
    with TemporaryDirectory() as aside:
        remote = model.startswith(("models:/", "runs:/"))
        found = find_pretrained(registry.fetch_model(home, model, Path(aside)) if remote else Path(model))
        check_alike(found, recipe)
        return step(home, "start", found.identity(), found.copy_to)


def train(
    recipe: Recipe,
    home: Path,
    record: Record,
    name: str,
    shared: Sequence[Group],
    inputs: list[Path],
    make_stage: Callable[[Group], Stage],
) -> Path:
    """One stage as a step; its curves are recorded while it trains, or at once if it was finished before.

    Scope `all` trains under Ray Train, the groups of other scopes as a pool of tasks, each in a folder of its name.
    """
    section = getattr(recipe, name)
    # not the number of workers: it changes rounding alone, and a run may go on with another
    numeric = [recipe.seed, recipe.grid, recipe.model, section, recipe.engine.precision]
    numeric += [] if recipe.scope == "all" else [recipe.scope]
    numeric += [recipe.start.train] if recipe.start else []
    log = partial(record.rows, name)

    def make(folder: Path) -> None:
        if recipe.scope != "all":
            pool.fit(recipe, name, shared, make_stage, folder, log)
            return
        (everything,) = shared
        with following(folder, name, section.steps, partial(log, everything)):
            config = training.export_config(recipe, everything)
            training.fit(partial(make_stage, everything), folder, name, recipe.engine, recipe.seed, config)

    folder = step(home, name, [*(path.name for path in inputs), *numeric], record.timing(name)(make))
    for group in shared:
        record.stage(name, group, group.folder(folder))
    return folder


def register(
    recipe: Recipe, run: tracking.Run, store: Path, stage1: Path, stage2: Path, scores: Path, folder: Path
) -> None:
    """Make the model folder and put it into the registry; `version.json` says which version it became."""
    made, name = folder / KIND, recipe.tracking.registered_model
    if not is_finished(made):
        write_model_folder(made, recipe, store, stage1, stage2, scores=held_out_scores(scores / ensembles.SCORES))
    version = registry.register_model(run, name, made)
    (folder / "version.json").write_text(json.dumps({"name": name, "version": version}) + "\n")


def held_out_scores(path: Path) -> dict[str, dict[str, float]]:
    """What an evaluation found of every system that training had not seen: name to number."""
    states, scored = read_scores(path)
    held_out = [ensemble for ensemble in scored if ensemble.split == "held_out"]
    return {
        name: {key.removeprefix("scores/"): value for key, value in row.items()}
        for name, row in system_metrics(states, held_out).items()
    }


def report(home: Path, scores: Path) -> None:
    """The table of results, and the one command that opens MLflow."""
    console = Console(width=120, highlight=False, soft_wrap=True)
    states, systems = read_scores(scores / ensembles.SCORES)
    console.print(state_table(states), ensemble_table(systems))
    mlflow = Path(sys.executable).with_name("mlflow")
    console.print("To see the run with its curves, pictures and models:")
    console.print(f"  {mlflow} ui --backend-store-uri {tracking.tracking_uri(home)} --port 5000")


@contextmanager
def recorded(record: Record) -> Iterator[None]:
    """Close the runs as what the block's end makes them; whatever ended the block goes on."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        record.end("KILLED")
        raise
    except BaseException as error:
        cause = refusal_in(error)
        record.end("FAILED", str(cause or f"{type(error).__name__}: {error}").partition("\n")[0])
        raise
    record.end("FINISHED")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line on stderr if the input is at fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--recipe", required=True, type=Path, help="YAML recipe, for example configs/pretrain/demo.yaml"
    )
    parser.add_argument("--home", type=Path, help="where everything is kept (default: $CRYOFOUND_HOME)")
    given = parser.parse_args(arguments)
    try:
        run_recipe(given.recipe, (given.home or default_home()).resolve())
    except (CryoFoundError, RayTaskError) as error:
        refusal = refusal_in(error)
        if refusal is None:
            raise
        print(f"error: {refusal}", file=sys.stderr, flush=True)
        return 1
    return 0


def run_recipe(path: Path, home: Path) -> None:
    """Read a recipe and run it as one MLflow run, also one that is refused."""
    try:
        recipe = load_recipe(path)
    except CryoFoundError as error:
        with suppress(TrackingError):  # what is wrong with the recipe is what its author has to hear
            tracking.record_failure(home, TrackingConfig().experiment, path.stem, str(error))
        raise
    revision = git_revision(Path.cwd())
    tags = {"kind": "recipe", "recipe": digest(recipe), "recipe_file": str(path), "git_revision": revision}
    tags |= {"mlflow.source.name": str(path), "mlflow.source.git.commit": revision, **environment()}
    run = tracking.open_run(home, recipe.tracking.experiment, recipe.name, digest(recipe), tags)
    run.log_params(tracking.recipe_params(recipe.model_dump(mode="json")))
    record = Record(recipe, run)
    with recorded(record):
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR)  # the cluster of RAY_ADDRESS, which `ray job submit` sets
            signal.signal(signal.SIGTERM, stopped)  # after ray.init, which sets its own
        record.tags(machines())
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # the steps tell their progress themselves
        scores = pretrain(recipe, home, record)
    report(home, scores)


if __name__ == "__main__":
    raise SystemExit(main())
