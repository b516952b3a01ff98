"""Models placed into all training maps before stage 1, where a recipe wants to be guided by them: a task per system."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryofound.building.guides import place_guides
from cryofound.config import BuildConfig, Recipe
from cryofound.ensemble.store import open_store
from cryofound.training.stage1 import training_ids
from jobs.steps import fan_out, step

GUIDE = BuildConfig(motion_steps=200)  # of building, of which rigid bodies alone are used; 300 steps place no nearer


def guide_inputs(store: Path) -> list[object]:
    """What decides where models are placed."""
    return [store.name, GUIDE]


def place(
    recipe: Recipe, home: Path, store: Path, timing: Callable[[Callable[[Path], None]], Callable[[Path], None]]
) -> Path | None:
    """The folder that training/guides.py reads, made as a step; None for a recipe that weighs no guides."""
    if not recipe.stage1.guide_weight:
        return None

    def make(folder: Path) -> None:
        fan_out("guides", partial(place_guides, store, GUIDE, folder), training_ids(open_store(store)))

    return step(home, "guides", guide_inputs(store), timing(make))
