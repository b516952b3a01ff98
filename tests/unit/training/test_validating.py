"""Validation: which samples are looked at, and sums that make the same means for any number of parts."""

import itertools
from collections import Counter

import pytest
import torch

from cryofound.training.validating import SAMPLES, SYSTEMS, ValidationBatch, summed, validation_batches

BATCHES = [
    ValidationBatch("abl1", "kinases", (0, 1, 2)),
    ValidationBatch("abl1", "kinases", (3,)),
    ValidationBatch("src", "kinases", (4, 5)),
    ValidationBatch("kras", "ras", (6, 7, 8)),
]


def mean_row(batch: ValidationBatch) -> torch.Tensor:
    return torch.tensor(batch.rows, dtype=torch.float32).mean()


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_parts_add_up_to_means_by_system_by_family_and_over_all(parts: int) -> None:
    calls = Counter()

    def counted(batch: ValidationBatch) -> torch.Tensor:
        calls[part] += 1
        return mean_row(batch)

    totals: dict[str, torch.Tensor] = {}
    for part in range(parts):
        for name, value in summed("ncc", BATCHES, part, parts, counted).items():
            totals[name] = totals.get(name, torch.zeros(2)) + value
    assert {name: (total / count).item() for name, (total, count) in totals.items()} == {
        "ncc": 4.0,
        "ncc/kinases": 2.5,
        "ncc/kinases/abl1": 1.5,
        "ncc/kinases/src": 4.5,
        "ncc/ras": 7.0,
        "ncc/ras/kras": 7.0,
    }
    assert set(calls.values()) == {-(-len(BATCHES) // parts)}  # ZeRO 3 waits for every rank at every call


def test_batches_are_of_one_system_and_cover_what_is_few() -> None:
    owners = ["b"] * 3 + ["a"] * 5
    batches = validation_batches(owners, {"a": "x", "b": "y"}, 2)
    assert [(batch.system_id, batch.family, batch.rows) for batch in batches] == [
        ("a", "x", (3, 4)),
        ("a", "x", (5, 6)),
        ("a", "x", (7,)),
        ("b", "y", (0, 1)),
        ("b", "y", (2,)),
    ]


def test_of_many_systems_and_samples_some_are_looked_at_that_lie_apart() -> None:
    owners = [f"system{number:03d}" for number in range(100) for _ in range(50)]
    families = {owner: f"family{int(owner[-3:]) // 10}" for owner in owners}
    batches = validation_batches(owners, families, 100)
    assert len(batches) == SYSTEMS
    assert {len(batch.rows) for batch in batches} == {SAMPLES}
    assert {batch.family for batch in batches} == set(families.values())
    first = batches[0].rows
    assert (first[0], first[-1]) == (0, 49)
    assert max(b - a for a, b in itertools.pairwise(first)) <= 4
