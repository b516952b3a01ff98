"""Members: decoded as stage 2 read the maps, without validation states and truth, and kept without a pickle."""

import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from cryofound.ensemble.shards import ShardIndex
from cryofound.ensemble.store import open_store, shard_folder
from cryofound.errors import StoreError
from cryofound.manifest import write_manifest
from cryofound.sampling.members import ARRAYS, FACTS, Member, members_of, read_members, write_members
from cryofound.training.latents import encode_all
from cryofound.training.stage1 import Stage1, load_stage1
from tests.made_models import CORE, RECIPE, TRAINED, made_home


def members_in(home: Path) -> tuple[Member, ...]:
    return members_of(RECIPE, home / "store-0123456789ab", home / "stage1-0123456789ab")


@pytest.fixture(scope="module")
def members(trained_home: Path) -> tuple[Member, ...]:
    return members_in(trained_home)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_displacements_are_those_of_the_codes_that_stage_2_learns_from(trained_home: Path, members) -> None:
    store = trained_home / "store-0123456789ab"
    systems = {name: system for name, system in open_store(store).items() if name in TRAINED}
    vae = load_stage1(trained_home / "stage1-0123456789ab", RECIPE, systems)
    stage1 = Stage1(RECIPE, systems, ShardIndex.open(shard_folder(store)))
    codes = encode_all(stage1, vae)
    assert [member.outline.system_id for member in members] == stage1.system_ids
    for row, member in enumerate(members):
        own = codes.latent[codes.system == row]
        shelf = stage1.shelves[torch.full((len(own),), row)]
        with torch.no_grad():
            expected = vae.decode(own[:, : shelf.tokens.mask.shape[1]], shelf.molecules, shelf.tokens).numpy()
        np.testing.assert_allclose(member.displacements, expected, atol=1e-4)
        assert np.abs(expected).max() > 0.1
        assert not np.allclose(expected[0], expected[1])
        np.testing.assert_array_equal(member.residual, vae.system_residual.weight[row].detach().numpy())
        assert member.residual.any()


def test_only_training_states_are_kept_and_the_anchor_is_known(members) -> None:
    assert [[state.state_id for state in member.outline.states] for member in members] == [["a", "c"]] * 2
    assert [member.anchor for member in members] == [True, False]
    assert [member.outline.system_id for member in members] == list(TRAINED)
    for member in members:
        np.testing.assert_array_equal(member.core, CORE)


def test_the_truth_is_not_asked(tmp_path: Path, members) -> None:
    """The same maps beside other true atoms, angstroms away, are the same members."""
    for one, other in zip(members, members_in(made_home(tmp_path, truth_seed=1)), strict=True):
        np.testing.assert_array_equal(one.displacements, other.displacements)


def test_what_is_written_is_read_and_always_the_same_bytes(tmp_path: Path, members) -> None:
    for name in "ab":
        write_members(tmp_path / name, members)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    for one, other in zip(members, read_members(tmp_path / "a"), strict=True):
        for name in ("system_id", "family", "split", "states", "grid", "symmetry"):
            assert getattr(one.outline, name) == getattr(other.outline, name)
        assert one.anchor == other.anchor
        for field in fields(one.outline.reference):
            pair = [getattr(each.outline.reference, field.name) for each in (one, other)]
            np.testing.assert_array_equal(*pair)
            assert pair[0].dtype == pair[1].dtype
        for name in ("displacements", "residual", "core", "latents"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(one.outline.family_position, other.outline.family_position)


@pytest.mark.parametrize("name", [ARRAYS, FACTS])
def test_a_changed_byte_is_refused_with_the_file_named(tmp_path: Path, members, name: str) -> None:
    write_members(tmp_path / "members", members)
    path = tmp_path / "members" / name
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    with pytest.raises(StoreError, match=f"members/{name}: checksum differs"):
        read_members(tmp_path / "members")


def test_a_pickle_by_the_name_of_the_arrays_is_refused(tmp_path: Path, members) -> None:
    folder = tmp_path / "members"
    write_members(folder, members)
    (folder / ARRAYS).write_bytes(pickle.dumps({"one/displacements": members[0].displacements}))
    write_manifest(folder, kind="members", schema=1)
    with pytest.raises(StoreError, match=f"{ARRAYS}: no safetensors"):
        read_members(folder)


def test_another_schema_is_refused(tmp_path: Path, members) -> None:
    write_members(tmp_path / "members", members)
    write_manifest(tmp_path / "members", kind="members", schema=7)
    with pytest.raises(StoreError, match="members of schema 7, this program reads 1; register the model again"):
        read_members(tmp_path / "members")
