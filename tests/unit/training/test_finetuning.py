"""Training that begins from a pretrained model: what it takes over, what it trains, and what it refuses."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cryofound.config import EngineConfig, Recipe
from cryofound.ensemble.shards import ShardIndex, shard_key, write_shard
from cryofound.ensemble.system import State, System
from cryofound.errors import RecipeError, StoreError
from cryofound.manifest import publishing
from cryofound.maps.density_map import Grid
from cryofound.physics.density import render_gaussian
from cryofound.training.checkpoints import WEIGHTS, load_export, load_latest, save, save_export
from cryofound.training.engine import Engine
from cryofound.training.finetuning import (
    COARSEST,
    FineTunedStage1,
    FineTunedStage2,
    Pretrained,
    carried_rows,
    check_alike,
    find_pretrained,
)
from cryofound.training.loop import Progress, train
from cryofound.training.molecules import molecule_batch
from cryofound.training.stage1 import Stage1
from cryofound.training.stage2 import Stage2
from tests.made_proteins import made_protein

SETTINGS: dict[str, Any] = {
    "name": "hinges",
    "entries": [],
    "grid": {"box_size": 48, "voxel_size": 2.0},
    "model": {
        "encoder_width": 16, "decoder_width": 16, "encoder_depth": 1, "decoder_depth": 1, "feature_channels": 8,
        "token_width": 16, "atom_field_width": 16, "latent_channels": 4,
    },
    "stage1": {
        "steps": 20, "batch_size": 2, "warmup_steps": 2, "log_every": 5, "checkpoint_every": 10, "validate_every": 0,
        "learning_rate": 0.02, "stereochemistry_weight": 0, "coarse_resolution": 12.0,
    },
    "stage2": {"steps": 20, "batch_size": 2, "width": 16, "depth": 1, "heads": 2},
}  # fmt: skip
START = {"model": "pretrained", "train": "all"}
NAMES = ("one", "two")


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate(SETTINGS | changes)


def systems_of(names: Sequence[str], folder: Path) -> tuple[dict[str, System], ShardIndex]:
    """Hinges, each bent the other way in its one state, whose maps go to a shard in `folder`."""
    grid, reference = Grid.centred(48, 2.0), made_protein(hinge_degrees=0.0)
    systems: dict[str, System] = {}
    for row, name in enumerate(names):
        truth = made_protein(hinge_degrees=(-1) ** row * 20.0).positions_xyz[None]
        systems[name] = System(
            name, "hinges", "train", reference, np.arange(reference.n_residues, dtype=np.float32),
            (State("bent", 1.0, 6.0, "train"),), truth, np.ones(truth.shape[:2], dtype=bool), grid,
        )  # fmt: skip

    def maps() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        for name, system in systems.items():
            amplitude = molecule_batch([system], [0]).amplitude
            density = render_gaussian(torch.from_numpy(system.truth_xyz), amplitude, grid, 6.0)[0].numpy()
            meta = {"system_id": name, "state_id": "bent", "state_index": 0, "population": 1.0, "resolution": 6.0}
            yield shard_key(name, "bent"), density, meta

    folder.mkdir(parents=True)
    write_shard(folder / "train-000000.tar", maps())
    return systems, ShardIndex.open(folder)


def randomised(module: nn.Module) -> nn.Module:
    """Every weight away from what a network begins with, so that what is not taken over shows."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in [*module.parameters(), *module.buffers()]:
            weight += 0.05 * torch.randn(weight.shape, generator=generator).abs()
    return module


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of systems one and two."""
    folder = tmp_path_factory.mktemp("home")
    made = recipe()
    systems, shards = systems_of(NAMES, folder / "shards")
    stage1 = Stage1(made, systems, shards)
    vae = stage1.module()
    stage2 = Stage2(made, systems, shards, vae)
    config = {"recipe": made.model_dump(mode="json"), "training_ids": list(NAMES)}
    for stage, module in ((stage1, vae), (stage2, stage2.module())):
        with publishing(folder / f"{stage.name}-0123456789ab") as partial:
            save_export(partial, stage.export(randomised(module)), config)
    return folder


def run(stage: FineTunedStage1, folder: Path, stop: int | None = None) -> tuple[dict[str, Tensor], list[float]]:
    """Train from the last checkpoint in `folder`, up to step `stop`; the weights and the losses."""
    engine = Engine(stage.module(), EngineConfig(), weight_decay=stage.weight_decay, gradient_clip=stage.gradient_clip)
    totals: list[float] = []

    def on_log(progress: Progress) -> None:
        totals.append(progress.means["total"])

    def on_checkpoint(step: int, validation: float | None) -> None:
        save(folder, step, engine, export=stage.export, config={}, keep_last=1, keep_best=0)
        if step == stop:
            raise KeyboardInterrupt

    start = load_latest(folder, engine, warn=pytest.fail)
    train(engine, stage, start_step=start, seed=0, on_log=on_log, on_checkpoint=on_checkpoint)
    return stage.export(engine.module), totals


def fine_tuned(mode: str, home: Path, shards: Path, names: Sequence[str] = ("new", "two")) -> FineTunedStage1:
    made = recipe(start=START | {"train": mode})
    sharp = made.stage1.model_copy(update={"coarse_resolution": 0.0})  # so that losses can be compared
    made = made.model_copy(update={"stage1": sharp})
    return FineTunedStage1(made, *systems_of(names, shards), find_pretrained(home).stage1)


def test_residuals_alone_are_trained_byte_for_byte_and_the_loss_falls(home: Path, tmp_path: Path) -> None:
    stage = fine_tuned("residual", home, tmp_path / "shards")
    before = stage.export(stage.module())
    after, totals = run(stage, tmp_path / "checkpoints")
    changed = {name for name in before if before[name].numpy().tobytes() != after[name].numpy().tobytes()}
    assert changed == {"system_residual.weight"}
    assert totals[-1] < totals[0]


def test_all_weights_are_trained_where_all_are_asked_for(home: Path, tmp_path: Path) -> None:
    stage = fine_tuned("all", home, tmp_path / "shards")
    before = stage.export(stage.module())
    after, totals = run(stage, tmp_path / "checkpoints")
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"encoder", "decoder", "system_residual"}
    assert totals[-1] < totals[0]


def test_an_interrupted_fine_tuning_goes_on_from_its_own_checkpoint(home: Path, tmp_path: Path) -> None:
    stage = fine_tuned("residual", home, tmp_path / "shards")
    whole, _ = run(stage, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(stage, tmp_path / "resumed", stop=10)
    resumed, totals = run(stage, tmp_path / "resumed")
    assert len(totals) == 2  # of the four that are logged in all
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_residuals_go_to_the_systems_of_the_same_id(home: Path, tmp_path: Path) -> None:
    table = torch.arange(1.0, 7.0).view(2, 3)
    rows = carried_rows(table, ["a", "c"], ["b", "c", "d", "a"])
    assert rows.tolist() == [[0, 0, 0], [4, 5, 6], [0, 0, 0], [1, 2, 3]]

    pretrained = Stage1(recipe(), *systems_of(NAMES, tmp_path / "old"))
    stage = fine_tuned("all", home, tmp_path / "new")
    weights, was = stage.module().state_dict(), randomised(pretrained.module()).state_dict()
    assert stage.system_ids == ["new", "two"]
    assert not weights["system_residual.weight"][0].any()
    assert torch.equal(weights.pop("system_residual.weight")[1], was.pop("system_residual.weight")[1])
    assert all(torch.equal(weights[name], was[name]) for name in was)


def test_maps_are_less_coarse_at_first_than_from_scratch(home: Path, tmp_path: Path) -> None:
    stage = fine_tuned("all", home, tmp_path / "shards")
    coarse = stage.recipe.stage1.model_copy(update={"coarse_resolution": 25.0})
    stage.recipe = stage.recipe.model_copy(update={"stage1": coarse})
    scratch = Stage1(stage.recipe, {system.system_id: system for system in stage.systems}, stage.shards)
    assert scratch.coarsest(0) == pytest.approx(25)
    assert stage.batch(0, 0, 1).coarsest == COARSEST
    assert stage.coarsest(stage.steps) == pytest.approx(scratch.coarsest(stage.steps))


def test_the_flow_keeps_its_weights_and_whitening(home: Path, tmp_path: Path) -> None:
    systems, shards = systems_of(["new"], tmp_path / "shards")
    folder = find_pretrained(home).stage2
    assert folder
    for mode, steps in (("all", 20), ("residual", 0)):
        made = recipe(start=START | {"train": mode})
        vae = Stage1(made, systems, shards).module()
        stage, fresh = FineTunedStage2(made, systems, shards, vae, folder), Stage2(made, systems, shards, vae)
        begun, pretrained = stage.module().state_dict(), load_export(folder)
        assert stage.steps == steps
        assert all(torch.equal(begun[name], pretrained[name]) for name in pretrained)
        assert not torch.equal(begun["latent_std"], fresh.module().latent_std)


def test_a_model_is_found_in_all_folders_that_hold_one(home: Path, tmp_path: Path) -> None:
    stage1, stage2 = home / "stage1-0123456789ab", home / "stage2-0123456789ab"
    whole = Pretrained(stage1, stage2)
    assert find_pretrained(home) == whole
    assert find_pretrained(stage1) == Pretrained(stage1, None)
    whole.copy_to(tmp_path / "registered" / "artifacts")
    copied = find_pretrained(tmp_path / "registered")
    assert copied == find_pretrained(tmp_path / "registered" / "artifacts")
    assert copied.stage2 == tmp_path / "registered" / "artifacts" / "stage2"
    assert copied.identity() == whole.identity() != find_pretrained(stage1).identity()


def test_folders_without_a_model_with_several_or_with_a_damaged_one_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere: no finished stage 1 in it; give models:/NAME@ALIAS"):
        find_pretrained(tmp_path / "nowhere")
    for number in "ab":
        find_pretrained(home).copy_to(tmp_path / number)
        (tmp_path / number / "stage1").rename(tmp_path / f"stage1-{number}")
    with pytest.raises(RecipeError, match="holds stage1-a, stage1-b; give the folder of the one to start from"):
        find_pretrained(tmp_path)
    with (tmp_path / "stage1-a" / WEIGHTS).open("r+b") as weights:
        weights.truncate(100)
    with pytest.raises(StoreError, match=rf"stage1-a/{WEIGHTS}: 100 bytes"):
        find_pretrained(tmp_path / "stage1-a").identity()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {**SETTINGS["model"], "token_width": 24}}, "its model.token_width is 16, the recipe's 24"),
        ({"grid": {"box_size": 48, "voxel_size": 3.0}}, "its grid.voxel_size is 2.0, the recipe's 3.0"),
        ({"stage2": {**SETTINGS["stage2"], "heads": 4}}, "its stage2.heads is 2, the recipe's 4"),
    ],
)
def test_networks_of_other_sizes_and_other_voxels_are_refused(home: Path, changes: dict, told: str) -> None:
    check_alike(find_pretrained(home), recipe(start=START))
    with pytest.raises(RecipeError) as refusal:
        check_alike(find_pretrained(home), recipe(start=START, **changes))
    line = f"start.model pretrained: {told}; give the recipe the checkpoint's values, or start from another"
    assert str(refusal.value) == line


def test_another_number_of_maps_boxes_or_steps_is_no_other_network(home: Path) -> None:
    other = recipe(start=START, grid={"box_size": [48, 64], "voxel_size": 2.0}, stage1={"steps": 7})
    check_alike(find_pretrained(home), other)


def test_a_flow_that_the_checkpoint_lacks_cannot_disagree(home: Path) -> None:
    other = recipe(start=START, stage2={**SETTINGS["stage2"], "width": 32})
    check_alike(find_pretrained(home / "stage1-0123456789ab"), other)


def test_what_a_younger_program_added_has_its_default_in_an_older_checkpoint(home: Path, tmp_path: Path) -> None:
    find_pretrained(home).copy_to(tmp_path)
    path = tmp_path / "stage1" / "config.json"
    config = json.loads(path.read_text())
    del config["recipe"]["model"]["embedding_width"]
    path.write_text(json.dumps(config))
    check_alike(find_pretrained(tmp_path), recipe(start=START))
