"""Scopes: every training system is in one group; a held-out one borrows from its family's, or from all."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from cryofound.config import Scope
from cryofound.ensemble.system import System
from cryofound.maps.density_map import Grid
from cryofound.training.scope import Group, group_of, groups
from tests.made_proteins import made_protein


def system_of(name: str, family: str, split: Literal["train", "held_out"]) -> System:
    model = made_protein(residues=4)
    none = np.zeros((0, model.n_atoms, 3), np.float32)
    return System(name, family, split, model, np.arange(4.0), (), none, none[..., 0] > 0, Grid.centred(16, 2.0))


_TRAINING = {"b": "ras", "a": "ras", "d": "hsp90"}
_HELD_OUT = {"c": "ras", "e": "gpcr"}
SYSTEMS = {
    **{name: system_of(name, family, "train") for name, family in _TRAINING.items()},
    **{name: system_of(name, family, "held_out") for name, family in _HELD_OUT.items()},
}


@pytest.mark.parametrize(
    ("scope", "expected", "owners"),
    [
        ("all", [Group("", ("a", "b", "d"))], {"a": "", "b": "", "c": "", "d": "", "e": ""}),
        (
            "family",
            [Group("hsp90", ("d",)), Group("ras", ("a", "b"))],
            {"a": "ras", "b": "ras", "c": "ras", "d": "hsp90", "e": None},
        ),
        (
            "system",
            [Group("a", ("a",)), Group("b", ("b",)), Group("d", ("d",))],
            {"a": "a", "b": "b", "c": None, "d": "d", "e": None},
        ),
    ],
)
def test_groups_and_who_is_sampled_from_which(
    scope: Scope, expected: list[Group], owners: dict[str, str | None]
) -> None:
    found = groups(scope, SYSTEMS)
    assert found == expected
    owned = {name: group_of(scope, system, found) for name, system in SYSTEMS.items()}
    assert {name: None if owner is None else owner.name for name, owner in owned.items()} == owners


def test_a_group_of_all_has_the_folder_of_the_step() -> None:
    assert Group("", ()).folder(Path("home/stage1-x")) == Path("home/stage1-x")
    assert Group("ras", ()).folder(Path("home/stage1-x")) == Path("home/stage1-x/ras")
