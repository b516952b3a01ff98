"""`cryofound models` as a user types it."""

import re
from pathlib import Path

import pytest

from cryofound.cli import main


def typed(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, and what was printed to stdout and stderr, with the lines of a table joined."""
    code = main(["models", *words, "--home", str(home)])
    said = capsys.readouterr()
    return code, " ".join(said.out.split()), said.err


def test_the_list_has_every_version_with_its_aliases(registry_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = typed(capsys, registry_home, "list")
    assert code == 0
    assert re.search(r"│ hinges │ 2 │ latest.* │ hinges │ 1 │ [^│]*production.* │ old │ 1 │ latest ", out)


def test_a_card_is_shown_by_alias_by_version_and_for_the_latest(
    registry_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, version in (("hinges@production", 1), ("hinges/2", 2), ("hinges", 2)):
        code, out, _ = typed(capsys, registry_home, "show", name)
        assert code == 0
        assert out.startswith(f"hinges version {version} (")
        assert "What it must not be used for" in out
        assert "Nucleic acids, ligands" in out


def test_a_card_is_shown_from_a_folder(registry_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = min((registry_home / "mlartifacts").rglob("artifacts/card.json")).parent
    code, out, _ = typed(capsys, registry_home, "show", str(folder))
    assert code == 0
    assert "What it must not be used for" in out


def test_promotion_tells_what_the_alias_pointed_to(registry_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys, registry_home, "promote", "hinges/1", "tested")[:2] == (
        0,
        "hinges@tested is version 1 (set for the first time)",
    )
    assert typed(capsys, registry_home, "promote", "hinges/2", "tested")[1] == (
        "hinges@tested is version 2 (version 1 before)"
    )
    assert typed(capsys, registry_home, "promote", "hinges/1")[1] == "hinges@production is version 1 (version 1 before)"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "hinges@staging"], "no alias staging; hinges has latest (version 2)"),
        (["show", "old"], "models:/old/1: registered by an older program"),
        (["promote", "hinges/9"], "hinges/9: no version 9; hinges has 2, 1"),
        (["promote", "nothing/1"], "nothing/1: no model nothing in"),
        (["promote", "hinges/1", "latest"], "alias latest: "),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    registry_home: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    code, out, err = typed(capsys, registry_home, *words)
    assert (code, out) == (1, "")
    assert told in err
    assert err.count("\n") == 1
