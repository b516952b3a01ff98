"""Recipes: every mistake ends in one line that names the file, the key and the way out."""

from pathlib import Path

import pytest

from cryofound.config import Recipe, Stage1Config, digest, load_recipe
from cryofound.errors import RecipeError

GOOD = "name: x\nentries: [a.yaml]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "stepz: 3\n", r"unknown key 'stepz' \(known here: name, seed, entries, grid, "),
        (GOOD + "stage1: {step: 3}\n", r"unknown key 'stage1.step' \(known here: steps, batch_size, "),
        (GOOD + "stage1: {steps: many}\n", r"stage1.steps: .*integer"),
        (GOOD + "grid: {box_size: 50}\n", r"grid.box_size: .*50 is not a multiple of 8"),
        (GOOD + "grid: {box_size: [48, 72]}\n", r"48 and 72 differ by 24, .* take 80 in place of 72"),
        (GOOD + "grid: {box_size: []}\n", r"grid.box_size: .*empty"),
        (GOOD + "grid: {voxel_size: -1}\n", r"grid.voxel_size: .*greater than 0"),
        (GOOD + "engine: {zero_stage: 4}\n", r"engine.zero_stage: "),
        ("name: x\n", r"entries: Field required"),
        ("- a\n", r"must be a YAML mapping, found list"),
        ("a: [\n", r"not valid YAML"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=told) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_recipe_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none.yaml: no such file; .*demo.yaml"):
        load_recipe(tmp_path / "none.yaml")


def test_digest_follows_every_value_and_nothing_else() -> None:
    recipe = Recipe(name="x", entries=("a.yaml",))
    assert digest(recipe) == digest(Recipe.model_validate(recipe.model_dump(mode="json")))
    assert digest(recipe) == digest(recipe.model_copy(update={"stage1": Stage1Config()}))
    assert digest(recipe) != digest(recipe.model_copy(update={"stage1": Stage1Config(steps=1)}))
    assert digest("a", "bc") != digest("ab", "c")


def test_every_shipped_recipe_loads_with_its_entries(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryofound.catalog.entry import load_entries

    monkeypatch.chdir(repository)
    recipes = [*Path("configs/pretrain").glob("*.yaml"), *Path("configs/benchmark").glob("*.yaml")]
    assert Path("configs/pretrain/demo.yaml") in recipes
    for path in recipes:
        assert load_entries(load_recipe(path).entries)


def test_checkpoints_of_every_shipped_recipe_fall_on_logged_steps(repository: Path) -> None:
    """Only then is the curve of a resumed run that of an undisturbed one, bit for bit."""
    for path in [*(repository / "configs/pretrain").glob("*.yaml"), *(repository / "configs/benchmark").glob("*.yaml")]:
        recipe = load_recipe(path)
        assert recipe.stage1.checkpoint_every % recipe.stage1.log_every == 0, path
        assert recipe.stage2.checkpoint_every % recipe.stage2.log_every == 0, path
