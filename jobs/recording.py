"""What a pretraining tells MLflow: a run of the recipe, and below it one for every stage and every system.

All that is told lies on disk too, and is told once: nothing waits for MLflow, and what it could not take while it was
locked or gone the next submission of the recipe tells it.
"""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ray

from cryofound.config import Recipe
from cryofound.ensemble.system import System
from cryofound.errors import TrackingError
from cryofound.evaluation.scores import flat_metrics, read_scores, series_metrics, system_metrics
from cryofound.outbox import Outbox
from cryofound.tracking import Curve, Run, Status, recipe_params
from cryofound.training.curve import read_curve
from cryofound.training.scope import Group
from jobs.ensembles import SCORES

_CLOCK = ("step", "seconds_left")  # columns of a curve that are no measurements
_SECTION = {
    "learning_rate": "optimiser",
    "gradient_norm": "optimiser",
    "steps_per_second": "machine",
    "samples_per_second": "machine",
    "atoms_per_second": "machine",
    "memory_gib": "machine",
}
_HURRY = 2.0  # seconds for a run that was stopped: Ray kills it after three

Row = Mapping[str, float]


class Record:
    """The runs of one recipe. Every method returns at once, but `settle` and `end`."""

    def __init__(self, recipe: Recipe, run: Run):
        self.recipe, self.run = recipe, run
        self.outbox = Outbox(lambda text: print(f"warning: {text}", flush=True))
        self._systems: dict[str, System] = {}
        self._children: dict[str, Run] = {}
        self._ended: set[str] = set()
        self._curves: dict[str, Curve] = {}

    def store(self, folder: Path, systems: Mapping[str, System]) -> None:
        """Say which store the run reads, and choose the systems that get a run of their own."""
        own = in_turn(systems, self.recipe.tracking.systems, first="held_out")
        self._systems = {name: systems[name] for name in own}
        families = {system.family for system in systems.values()}
        held_out = sum(system.split == "held_out" for system in systems.values())
        text = f"{len(systems)} systems of {len(families)} families, {held_out} held out of training"
        self.tags({"store": folder.name, "mlflow.note.content": text})

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the recipe's run."""
        self.outbox.put(partial(self.run.set_tags, tags))

    def rows(self, name: str, group: Group, rows: Sequence[Row]) -> None:
        """Log new rows of a stage's curve."""
        self.outbox.put(partial(self._rows, name, group, rows))

    def stage(self, name: str, group: Group, folder: Path) -> None:
        """Log what is missing of a finished stage: its curve, its weights, its end."""
        self.rows(name, group, read_curve(folder))
        self.outbox.put(partial(self._stage, name, group, folder))

    def pictures(self, name: str, group: Group, files: Sequence[Path]) -> None:
        """Add pictures to the run of a stage."""
        self.outbox.put(partial(self._pictures, name, group, files))

    def scores(self, folder: Path) -> None:
        """Log the evaluation: means in the run of the recipe; every system's scores and picture in its own."""
        self.outbox.put(partial(self._scores, folder))

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the wall time of the block, or of the function that this decorates, to the metric `seconds/<name>`."""
        began = time.monotonic()
        try:
            yield
        finally:
            taken = time.monotonic() - began
            self.outbox.put(partial(self.run.add_to_metric, f"seconds/{name}", taken))

    def settle(self) -> None:
        """Wait until MLflow has everything; raises TrackingError if that takes longer than the recipe's patience."""
        try:
            self.outbox.flush(self.recipe.tracking.patience)
        except TrackingError as error:
            raise TrackingError(f"{error}; all results are kept, submit the recipe again to log the rest") from error

    def end(self, status: Status, error: str = "") -> None:
        """Close all runs. Raises TrackingError as `settle` does if the run was FINISHED, else warns of what is left."""
        self.outbox.put(partial(self._end, status, error))
        if status == "FINISHED":
            try:
                self.settle()
            finally:
                self.outbox.close(0)
            return
        hurry = status == "KILLED" or self.outbox.stuck
        try:
            self.outbox.close(_HURRY if hurry else self.recipe.tracking.patience)
        except TrackingError as left:
            if str(left) not in error:
                print(f"warning: {left}; not all is logged, submit the recipe again for the rest", flush=True)

    def _child(self, name: str, tags: Mapping[str, str]) -> Run:
        if name not in self._children:
            self._children[name] = self.run.child(name, tags)
        return self._children[name]

    def _stage_run(self, name: str, group: Group) -> Run:
        full = f"{name}/{group.name}".rstrip("/")
        if full not in self._children:
            tags = {"kind": "stage", "stage": name, "group": group.name or "all"}
            numeric = {"scope", "seed", "grid", "model", "engine", name}
            self._child(full, tags).log_params(recipe_params(self.recipe.model_dump(mode="json", include=numeric)))
        return self._children[full]

    def _system_run(self, system: System) -> Run:
        tags = {"kind": "system", "system": system.system_id, "family": system.family, "split": system.split}
        return self._child(f"{system.family}/{system.system_id}", tags)

    def _rows(self, name: str, group: Group, rows: Sequence[Row]) -> None:
        run = self._stage_run(name, group)
        self._curve(run, "training/total").log([(int(row["step"]), stage_metrics(row)) for row in rows])
        for metric, system_id in sorted({found for row in rows for column in row if (found := _of_system(column))}):
            system = self._systems.get(system_id)
            if system:
                column = f"validation/{metric}/{system.family}/{system_id}"
                points = [(int(row["step"]), {f"{name}/{metric}": row[column]}) for row in rows if column in row]
                self._curve(self._system_run(system), f"{name}/{metric}").log(points)

    def _curve(self, run: Run, mark: str) -> Curve:
        return self._curves.setdefault(f"{run.run_id}/{mark}", Curve(run, mark))

    def _stage(self, name: str, group: Group, folder: Path) -> None:
        run = self._stage_run(name, group)
        for file in sorted(each for each in folder.iterdir() if each.is_file()):
            run.log_artifact(file, "export")
        run.end("FINISHED")
        self._ended.add(run.run_id)

    def _pictures(self, name: str, group: Group, files: Sequence[Path]) -> None:
        for file in files:
            self._stage_run(name, group).log_artifact(file, "reconstructions")

    def _scores(self, folder: Path) -> None:
        states, ensembles = read_scores(folder / SCORES)
        self.run.log_once("scores", folder.name, [(0, flat_metrics(states, ensembles))])
        self.run.log_artifact(folder / SCORES, "evaluation")
        means = system_metrics(states, ensembles)
        for system in self._systems.values():
            if system.system_id not in means:
                continue
            run = self._system_run(system)
            series = series_metrics(states, system.system_id)
            run.log_params({"states": [score.state_id for score in states if score.system_id == system.system_id]})
            run.log_once("scores", folder.name, [(0, means[system.system_id]), *series])
            run.log_artifact(folder / f"{system.system_id}.png")
            run.end("FINISHED")
            self._ended.add(run.run_id)

    def _end(self, status: Status, error: str) -> None:
        for child in self._children.values():
            if child.run_id not in self._ended:
                child.end(status)
        self.run.end(status, error)


def stage_metrics(row: Row) -> dict[str, float]:
    """The columns of one row of a curve as metrics of a stage's run, in sections; those of systems are left out."""
    return {
        name if "/" in name else f"{_SECTION.get(name, 'training')}/{name}": value
        for name, value in row.items()
        if name not in _CLOCK and not _of_system(name)
    }


def in_turn(systems: Mapping[str, System], count: int, first: str) -> list[str]:
    """Ids of at most `count` systems: the split `first` before the other, within it one of every family in turn."""
    place: dict[tuple[str, str], int] = {}
    keys = []
    for name in sorted(systems):
        which = systems[name].split, systems[name].family
        place[which] = place.get(which, -1) + 1
        keys.append((systems[name].split != first, place[which], systems[name].family, name))
    return [name for *_, name in sorted(keys)[:count]]


def machines() -> dict[str, str]:
    """Tags that say what Ray has: nodes, CPUs and accelerators."""
    have = ray.cluster_resources()
    kinds = sorted(name.removeprefix("accelerator_type:") for name in have if name.startswith("accelerator_type:"))
    gpus = int(have.get("GPU", 0))
    return {
        "nodes": str(len([node for node in ray.nodes() if node["Alive"]])),
        "cpus": f"{have.get('CPU', 0):g}",
        "device": f"{gpus} x {' or '.join(kinds) or 'GPU'}" if gpus else f"cpu ({platform.machine()})",
    }


def _of_system(column: str) -> tuple[str, str] | None:
    """Metric and system of a column `validation/<metric>/<family>/<system>`, None for other columns."""
    parts = column.split("/")
    return (parts[1], parts[3]) if len(parts) == 4 and parts[0] == "validation" else None
