"""Random numbers of a step that belong to its samples: the same however the batch is split among workers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """What the samples at `places` of the global batch of a step draw; None: the whole batch, however many it has.

    A draw has a name and depends on (seed, step, place, name) alone: not on the rank, the device or other draws. A
    shorter draw of a sample is the beginning of a longer one, so that padding changes nothing.
    """

    seed: int
    step: int
    places: range | None = None

    def normal(self, name: str, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Standard normal numbers of `shape` (sample, ...), float32; ValueError if there are not as many samples."""
        rows = [row.standard_normal(tuple(shape[1:]), dtype=np.float32) for row in self._rows(name, shape[0])]
        return torch.from_numpy(np.stack(rows)).to(device)

    def uniform(self, name: str, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Numbers from 0 to 1, one a sample, (count,) float32; ValueError if there are not as many samples."""
        rows = [row.random(dtype=np.float32) for row in self._rows(name, count)]
        return torch.tensor(rows, dtype=torch.float32).to(device)

    def _rows(self, name: str, count: int) -> list[np.random.Generator]:
        places = range(count) if self.places is None else self.places
        if len(places) != count:
            raise ValueError(f"noise '{name}' is asked for {count} samples, this part of the batch has {len(places)}")
        return [np.random.default_rng(seed_of(self.seed, self.step, place, name)) for place in places]


class Silence(Noise):
    """Draws that change nothing: zeros, at which a code is its mean, and ones, which are under no share."""

    def normal(self, name: str, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Zeros of `shape`, float32."""
        return torch.zeros(tuple(shape), device=device)

    def uniform(self, name: str, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Ones (count,) float32."""
        return torch.ones(count, device=device)


def seed_of(*parts: object) -> int:
    """63 bits from its arguments as text; neighbouring numbers share nothing."""
    return random.Random("/".join(map(str, parts))).getrandbits(63)
