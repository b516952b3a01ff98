"""Models placed into the training maps: how they are read, what they weigh, and that they lead where maps do not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryofound.config import Recipe
from cryofound.errors import StoreError
from cryofound.manifest import publishing
from cryofound.training.guides import Guides, guide_file, guide_loss
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1, guided_ids
from tests.unit.training.hinges import hinge_recipe, two_hinges


def recipe(**stage1: Any) -> Recipe:
    made = hinge_recipe(batch_size=2)
    return made.model_copy(update={"stage1": made.stage1.model_copy(update=stage1)})


def test_near_the_pull_is_a_springs_and_far_away_the_same_however_far():
    mask = torch.tensor([[True, True, False]])
    placed = torch.zeros(1, 3, 3, dtype=torch.float64)
    padding = torch.tensor([0.0, 0.0, 99.0])

    def loss(away: float) -> float:
        positions = torch.zeros(1, 3, 3, dtype=torch.float64)
        positions[0, :2, 1] = away
        positions[0, 2] = padding
        return guide_loss(positions, placed, mask).item()

    assert loss(0.0) == 0
    assert loss(3.0) == pytest.approx(10**0.5 - 1)
    assert loss(1e-3) == pytest.approx(0.5e-6, rel=1e-3)
    assert loss(1001.0) - loss(1000.0) == pytest.approx(1, rel=1e-5)


def test_the_weight_falls_to_nothing(tmp_path: Path):
    systems, shards = two_hinges(tmp_path)
    stage = Stage1(recipe(guide_weight=0.2, guide_share=0.5, steps=100), systems, shards)
    assert [stage.guided(step) for step in (0, 25, 50, 99)] == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_a_guided_model_goes_where_it_was_placed(tmp_path: Path):
    """Placed far from where the maps are: nothing but the guide can lead there."""
    systems, shards = two_hinges(tmp_path)
    (name, system), *_ = systems.items()
    systems, shards = {name: system}, shards.of_systems([name])
    shift = np.array([0.0, 6.0, 0.0], dtype=np.float32)
    placed = {row: torch.from_numpy(system.reference.positions_xyz + shift) for row in range(len(system.states))}
    stage = Stage1(recipe(guide_weight=1.0, guide_share=1.0, learning_rate=5e-3), systems, shards, Guides([placed]))
    module = stage.module()
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    away = []
    for step in range(60):
        losses = stage.losses(module, stage.batch(step, 0, 1), Noise(0, step))
        away.append(losses["guide"].item())
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
    assert away[0] == pytest.approx(37**0.5 - 1, abs=1e-3)
    assert away[-1] < 0.5 * away[0]


def test_a_family_may_be_left_alone(tmp_path: Path):
    systems, shards = two_hinges(tmp_path)
    alone = {"hinges": {"guide": 0.0}}
    assert guided_ids(recipe(guide_weight=0.1), systems) == ["long", "short"]
    assert guided_ids(recipe(guide_weight=0.1, family_weights=alone), systems) == []
    assert guided_ids(recipe(), systems) == []
    far = [{row: torch.full((system.reference.n_atoms, 3), 50.0) for row in range(2)} for system in systems.values()]
    totals = []
    for guides in (None, Guides(far)):
        stage = Stage1(recipe(guide_weight=0.1, family_weights=alone), systems, shards, guides)
        totals.append(stage.losses(stage.module(), stage.batch(0, 0, 1), Noise(0, 0))["total"].item())
    assert totals[0] == pytest.approx(totals[1])


def test_guides_of_another_store_are_refused(tmp_path: Path):
    systems, _ = two_hinges(tmp_path / "shards")
    (system, *_) = systems.values()
    count = len(system.states)
    with publishing(tmp_path / "guides-0123456789ab") as folder:
        positions = np.stack([system.reference.positions_xyz] * count)
        np.savez(guide_file(folder, system.system_id), positions_xyz=positions, state=np.arange(count))
    opened = Guides.open(tmp_path / "guides-0123456789ab", [system])
    assert torch.equal(opened.positions([0], [count - 1])[0], torch.from_numpy(positions[-1]))
    fewer = replace(system, states=system.states[:-1])
    with pytest.raises(StoreError, match=r"the store has \[0"):
        Guides.open(tmp_path / "guides-0123456789ab", [fewer])
