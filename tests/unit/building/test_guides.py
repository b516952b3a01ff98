"""Models placed into the training maps of a store."""

from pathlib import Path

import numpy as np
import pytest

from cryofound.building.guides import place_guides
from cryofound.config import BuildConfig
from cryofound.ensemble.store import MAPS, open_system, read_system, system_folder
from cryofound.training.guides import guide_file
from tests.made_models import made_home

QUICK = BuildConfig(motion_steps=80)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_home(tmp_path_factory.mktemp("home")) / "store-0123456789ab"


def placed(store: Path, folder: Path) -> tuple[np.ndarray, list[int]]:
    folder.mkdir()
    place_guides(store, QUICK, folder, "one")
    with np.load(guide_file(folder, "one"), allow_pickle=False) as arrays:
        return arrays["positions_xyz"], arrays["state"].tolist()


def test_every_training_map_has_a_model_near_its_truth(store: Path, tmp_path: Path):
    positions, states = placed(store, tmp_path / "guides")
    system = read_system(system_folder(store, "one"))
    assert states == [0, 2], "not the one that training may not see"
    for each, state in zip(positions, states, strict=True):
        away, static = (
            np.sqrt(((xyz - system.truth_xyz[state]) ** 2).sum(-1).mean())
            for xyz in (each, system.reference.positions_xyz)
        )
        assert away < 0.4 * static
    assert not list((tmp_path / "guides").glob("*.part*"))


def test_the_map_of_a_left_out_state_decides_nothing(store: Path, tmp_path: Path):
    positions, _ = placed(store, tmp_path / "before")
    other = made_home(tmp_path / "home") / "store-0123456789ab"
    maps = open_system(system_folder(other, "one"), "r+")[MAPS]
    maps[1] = np.zeros_like(maps[1])  # type: ignore[index]  # it is an array
    again, _ = placed(other, tmp_path / "after")
    assert np.array_equal(positions, again)
