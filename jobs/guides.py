"""Models placed into all training maps before stage 1, where a recipe wants to be guided by them: a task per system."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryofound.building.guides import place_guides
from cryofound.config import BuildConfig, Recipe
from cryofound.ensemble.store import open_store
from cryofound.training.stage1 import guided_ids
from jobs.steps import fan_out, step

GUIDE = BuildConfig(motion_steps=200)  # of building, of which rigid bodies alone are used; 300 steps place no nearer


def place(
    recipe: Recipe, home: Path, store: Path, timing: Callable[[Callable[[Path], None]], Callable[[Path], None]]
) -> Path | None:
    """The folder that training/guides.py reads, made as a step; None for a recipe that weighs no guides."""
    guided = guided_ids(recipe, open_store(store))
    if not guided:
        return None

    def make(folder: Path) -> None:
        fan_out("guides", partial(place_guides, store, GUIDE, folder), guided)

    return step(home, "guides", [store.name, GUIDE, guided], timing(make))
