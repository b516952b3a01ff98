"""The card says of a model what its store and its scores say, and warns of what follows from them."""

from pathlib import Path

import pytest

from cryofound.sampling.model_card import ModelCard, SystemFacts, card_tags, card_text, model_card
from tests.made_models import RECIPE

SCORES = {"away": {"recall_rmsd": 1.5, "static_rmsd": 2.5}}


def card_of(home: Path, scores: dict[str, dict[str, float]]) -> ModelCard:
    return model_card(
        RECIPE, home / "store-0123456789ab", schema_version=1, parameters={"stage1": 7}, revisions={"stage1": "abc"},
        scores=scores,
    )  # fmt: skip


@pytest.fixture(scope="module")
def card(trained_home: Path) -> ModelCard:
    return card_of(trained_home, SCORES)


def facts(card: ModelCard, system_id: str) -> SystemFacts:
    return next(system for system in card.systems if system.system_id == system_id)


def test_families_states_and_licences_are_those_of_the_store(card: ModelCard) -> None:
    assert card.families("train") == {"hinges": ["one", "two"]}
    assert card.families("held_out") == {"hinges": ["away"]}
    assert card.licences() == {"CC0-1.0": ["away", "one"], "not stated": ["two"]}
    assert facts(card, "one").states == {"map": 1, "structure": 1}  # the third is kept for validation
    assert facts(card, "away").states == {}
    assert (facts(card, "one").anchor, facts(card, "two").anchor) == (True, False)
    assert (facts(card, "two").identity, card.store) == ("id-two", "0123456789ab")
    assert facts(card, "one").resolutions == (6.0,)
    assert (facts(card, "one").residues, facts(card, "one").box_size) == (40, 48)
    assert "host" not in card.environment
    assert {"torch", "python"} <= set(card.environment)


def test_it_is_the_same_after_json(card: ModelCard) -> None:
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_the_limits_follow_from_what_it_was_made_of(trained_home: Path, card: ModelCard) -> None:
    limits = "\n".join(card.limits)
    assert "families other than hinges:" in limits
    assert "Nucleic acids" in limits
    assert "1 of 2 systems were trained on maps that were simulated" in limits
    assert "do not fit into 96 A" in limits
    assert "the licence of the data of two is not stated" in limits
    assert "none was measured" not in limits
    assert "the one system" not in limits
    assert "none was measured" in "\n".join(card_of(trained_home, {}).limits)


def test_the_text_has_the_scores_beside_the_baselines_and_the_limits(trained_home: Path, card: ModelCard) -> None:
    text = card_text(card)
    assert "| away | hinges | 1.50 | 2.50 | - |" in text
    assert "| hinges | one, two | away |" in text
    assert all(f"- {limit}\n" in text for limit in card.limits)
    assert "Not measured." in card_text(card_of(trained_home, {}))


def test_many_systems_are_not_all_named_in_the_text(card: ModelCard) -> None:
    one = facts(card, "one")
    many = tuple(one.model_copy(update={"system_id": f"s{number:03d}"}) for number in range(500))
    text = card_text(card.model_copy(update={"systems": many}))
    assert "s000, s001" in text
    assert "and 480 more" in text
    assert len(text) < 5000


def test_tags_tell_families_and_where_the_data_came_from(card: ModelCard) -> None:
    tags = card_tags(card)
    assert (tags["families"], tags["systems"], tags["held_out"], tags["schema"]) == ("hinges", "2", "1", "1")
    assert (tags["store"], tags["licences"], tags["revision.stage1"]) == ("0123456789ab", "CC0-1.0, not stated", "abc")
