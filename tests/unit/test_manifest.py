"""A folder exists when its manifest does, and its manifest tells every change."""

import json
from pathlib import Path

import pytest

from cryofound.errors import StoreError
from cryofound.manifest import is_finished, publishing, read_manifest, write_manifest


def fill(folder: Path) -> None:
    (folder / "inner").mkdir(exist_ok=True)
    (folder / "inner" / "b.bin").write_bytes(bytes(range(256)))
    (folder / "a.txt").write_text("a")


def test_publishing_gives_facts_and_checksums_and_the_final_name(tmp_path: Path) -> None:
    with publishing(tmp_path / "made", step="x") as partial:
        fill(partial)
        assert not (tmp_path / "made").exists()
    manifest = read_manifest(tmp_path / "made")
    assert manifest["step"] == "x"
    assert set(manifest["files"]) == {"a.txt", "inner/b.bin"}
    # sha256 of the one byte "a", as `printf a | sha256sum` gives it
    assert manifest["files"]["a.txt"]["sha256"].startswith("ca978112ca1bbdcafac231b39a23dc4d")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_failed_publishing_leaves_no_finished_folder_and_goes_on_from_its_parts(tmp_path: Path) -> None:
    def cut_short() -> None:
        with publishing(tmp_path / "made") as partial:
            fill(partial)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        cut_short()
    assert not is_finished(tmp_path / "made")
    with publishing(tmp_path / "made") as partial:
        assert (partial / "a.txt").read_text() == "a"
    assert is_finished(tmp_path / "made")


def test_what_cannot_be_resumed_begins_anew_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "made.partial").mkdir()
    (tmp_path / "made.partial" / "of_a_killed_one.txt").touch()

    def cut_short() -> None:
        with publishing(tmp_path / "made", resumable=False) as partial:
            assert not list(partial.iterdir())
            fill(partial)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        cut_short()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "a.txt").write_text("b"), "a.txt: checksum differs"),
        (lambda folder: (folder / "a.txt").write_text(""), "a.txt: 0 bytes, its manifest says 1"),
        (lambda folder: (folder / "a.txt").unlink(), "a.txt: missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "never finished"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff{}"), "damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"schema_version": 1}'), "lists no files"),
    ],
)
def test_every_damage_is_named_with_its_remedy(tmp_path: Path, damage, told: str) -> None:
    fill(tmp_path)
    write_manifest(tmp_path)
    damage(tmp_path)
    with pytest.raises(StoreError, match=told) as caught:
        read_manifest(tmp_path)
    assert "run again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_manifest_of_another_schema_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(StoreError, match="schema 99, not 1"):
        read_manifest(tmp_path)
