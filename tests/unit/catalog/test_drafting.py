"""Ids: what is one of an archive, what is a name, and what was meant for one and is none."""

import pytest

from cryofound.catalog.drafting import parse_id
from cryofound.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "accessions"),
    [
        ("EMPIAR-10400", {"empiar": ("EMPIAR-10400",)}), ("EMD-3488", {"emdb": ("EMD-3488",)}),
        ("EMD-40226", {"emdb": ("EMD-40226",)}), ("TRPV3", {}), ("EMP1", {}), ("emerin_EMD", {}), ("my-run_2", {}),
    ],
)  # fmt: skip
def test_ids_and_names(text: str, accessions: dict) -> None:
    assert parse_id(text) == (text, accessions)


@pytest.mark.parametrize(
    "text", ["EMPIAR-1", "EMPIAR10400", "EMD40226", "emd-40226", "EMDB-40226", "EMD-123", "EMPAIR-10400"]
)
def test_ids_that_are_none(text: str) -> None:
    with pytest.raises(RecipeError, match=rf"{text}: is no id of EMPIAR \(EMPIAR-10400\) or EMDB \(EMD-40226\)"):
        parse_id(text)
