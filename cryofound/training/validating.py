"""Metrics of training systems, each by itself, by family and all together, as sums that ranks can add up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SYSTEMS, SAMPLES = 24, 16  # at most so many systems, and samples of each, are looked at


@dataclass(frozen=True)
class ValidationBatch:
    """Rows of a data set that belong to one system."""

    system_id: str
    family: str
    rows: tuple[int, ...]


def validation_batches(owners: Sequence[str], families: dict[str, str], batch_size: int) -> list[ValidationBatch]:
    """Batches of at most `batch_size` rows, of one system each, of some systems of every family.

    owners: the system of each row, in the order of its series; families: the family of each system. What is left out,
    where there are more systems or samples than this looks at, lies evenly between what is taken.
    """
    ordered = sorted(set(owners), key=lambda name: (families[name], name))
    batches = []
    for name in _spread(ordered, SYSTEMS):
        rows = _spread([row for row, owner in enumerate(owners) if owner == name], SAMPLES)
        batches += [
            ValidationBatch(name, families[name], tuple(rows[start : start + batch_size]))
            for start in range(0, len(rows), batch_size)
        ]
    return batches


def summed(
    metric: str, batches: Sequence[ValidationBatch], part: int, parts: int, mean: Callable[[ValidationBatch], Tensor]
) -> dict[str, Tensor]:
    """Sum and count (2,) of a metric over the samples of one of `parts` parts: all, by family and by system.

    `mean` gives the metric of a batch, and is called equally often in every part: ZeRO 3 gathers weights at each call.
    """
    names = {name for batch in batches for name in _names(metric, batch)}
    sums = {name: torch.zeros(2) for name in sorted(names)}
    for turn in range(-(-len(batches) // parts)):
        row = part + turn * parts
        batch = batches[min(row, len(batches) - 1)]
        value = mean(batch).detach().float().cpu()
        if row < len(batches):
            count = len(batch.rows)
            for name in _names(metric, batch):
                sums[name] += torch.stack([count * value, torch.tensor(float(count))])
    return sums


def _names(metric: str, batch: ValidationBatch) -> tuple[str, str, str]:
    return metric, f"{metric}/{batch.family}", f"{metric}/{batch.family}/{batch.system_id}"


def _spread(items: list, most: int) -> list:
    if len(items) <= most:
        return items
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]
