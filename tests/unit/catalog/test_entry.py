"""Catalog entries: every shipped one loads, and what is wrong in one is said in a line."""

from pathlib import Path

import pytest
import yaml

from cryofound.catalog.entry import LocalSource, NormalModeState, anchor_of, load_entries, load_entry
from cryofound.errors import RecipeError

ENTRY = {
    "system_id": "one", "family": "made", "split": "train", "sources": {"here": {"kind": "local", "folder": "files"}},
    "reference": {"source": "here", "file": "a.cif"}, "states": [{"state_id": "a", "kind": "normal_mode"}],
    "simulation": {"resolution": 8.0}, "citation": "none", "licence": "CC0-1.0",
}  # fmt: skip


def written(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump({**ENTRY, **changes}))
    return path


def test_every_shipped_entry_loads(repository: Path) -> None:
    paths = sorted((repository / "configs/catalog").rglob("*.yaml"))
    entries = [load_entry(path) for path in paths]
    assert len({entry.system_id for entry in entries}) == len(entries) >= 30
    held_out = {entry.system_id for entry in entries if entry.split == "held_out"}
    assert held_out == {"P0AEQ3", "4CLN", "5A2H", "TRPV5", "trpv5_rabbit"}


def test_shipped_families_have_the_members_the_issue_names(repository: Path) -> None:
    families = load_entries([str(repository / "configs/catalog/*/*.yaml")])
    assert {entry.system_id for entry in families if entry.family == "periplasmic-binding"} == {
        "P02911", "P0AEQ3", "Q5F9M1", "P19491",
    }  # fmt: skip
    calmodulins = [entry for entry in families if entry.family == "calmodulin"]
    for entry in calmodulins:
        assert entry.simulation.resolution == 8.0
        modes = [state for state in entry.states if isinstance(state, NormalModeState)]
        assert [(state.mode, state.sign, state.rmsd) for state in modes] == [(1, 1, 3.46), (1, -1, 3.46)]
        assert len(modes) == len(entry.states)
    assert anchor_of("calmodulin", families).system_id == "1EXR"


def test_local_folders_are_beside_the_entry(tmp_path: Path) -> None:
    source = load_entry(written(tmp_path / "e.yaml")).sources["here"]
    assert isinstance(source, LocalSource)
    assert source.folder == str(tmp_path / "files")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"simulation": {"resolution": 8.0, "noize": 1}}, "unknown key 'simulation.noize'"),
        (
            {"states": [{"state_id": "a", "kind": "normal_mode", "modes": 1}]},
            "unknown key 'states.0.normal_mode.modes'",
        ),
        ({"reference": {"source": "there"}}, r"source there is not among sources \(here\)"),
        ({"states": []}, "states"),
        ({"states": 2 * ENTRY["states"]}, "state_id a is used more than once"),
        ({"system_id": "a.b"}, "system_id"),
        ({"system_id": "a__b"}, "system_id"),
        ({"split": "held_out", "anchor": True}, "anchor of a family must be a train system"),
        ({"schema_version": 3}, "schema_version: .*is 3, this program reads 2; update CryoFound"),
        ({"schema_version": 1}, "write 2 in its place"),
    ],
)
def test_faults_are_named_in_one_line(changes: dict, expected: str, tmp_path: Path) -> None:
    path = written(tmp_path / "e.yaml", **changes)
    with pytest.raises(RecipeError, match=expected) as raised:
        load_entry(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_families_are_checked_as_a_whole(tmp_path: Path) -> None:
    pattern = str(tmp_path / "*.yaml")
    with pytest.raises(RecipeError, match="no catalog entry matches"):
        load_entries([pattern])
    written(tmp_path / "a.yaml", system_id="b")
    written(tmp_path / "b.yaml", system_id="a")
    entries = load_entries([pattern, str(tmp_path / "a.yaml")])
    assert [entry.system_id for entry in entries] == ["a", "b"]
    assert anchor_of("made", entries).system_id == "a"
    written(tmp_path / "a.yaml", system_id="b", anchor=True)
    assert anchor_of("made", load_entries([pattern])).system_id == "b"
    written(tmp_path / "b.yaml", system_id="a", anchor=True)
    with pytest.raises(RecipeError, match="a and b both say anchor"):
        load_entries([pattern])
    written(tmp_path / "b.yaml", system_id="b")
    with pytest.raises(RecipeError, match="system_id b is already that of"):
        load_entries([pattern])
    for name in ("a", "b"):
        written(tmp_path / f"{name}.yaml", system_id=name, split="held_out")
    with pytest.raises(RecipeError, match="all of a, b are held out"):
        load_entries([pattern])
