"""The codes that stage 2 learns from: those of all training maps, and what one system's says to another's reference."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryofound.models.latent_grid import TokenGrid
from cryofound.models.vae import VAE
from cryofound.training.shelves import Shelves
from cryofound.training.stage1 import Stage1


@dataclass(frozen=True)
class LatentSet:
    """Posterior means of all training maps with the latents between neighbours added.

    latent (point, token, C), zero in padding; system (point,) row of the training systems; weight (point,) summing to 1
    per system.
    """

    latent: Tensor
    system: Tensor
    weight: Tensor


@torch.no_grad()
def encode_all(stage1: Stage1, vae: VAE) -> LatentSet:
    """Posterior means of every training map in the order of its series, weighted by population within its system."""
    shards = stage1.shards
    metas = [shards.sample(row)[1] for row in range(len(shards))]
    order = sorted(range(len(metas)), key=lambda row: (metas[row]["system_id"], metas[row]["state_index"]))
    means = []
    for row in order:
        batch = stage1.maps([row])
        shelf = stage1.shelves[batch.system]
        means.append(vae.encode(batch.density, shelf.reference, shelf.tokens)[0][0])
    system = torch.tensor([stage1.system_ids.index(metas[row]["system_id"]) for row in order])
    weight = torch.tensor([float(metas[row]["population"]) for row in order])
    return _normalised(torch.nn.utils.rnn.pad_sequence(means, batch_first=True), system, weight)


@torch.no_grad()
def encode_references(shelves: Shelves, vae: VAE) -> Tensor:
    """(system, token, C): the code of each reference's own density, of no motion; zero in padding."""
    codes = []
    for system in range(len(shelves.row)):
        shelf = shelves[torch.tensor([system])]
        codes.append(vae.encode(shelf.reference, shelf.reference, shelf.tokens)[0][0])
    return torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)


def with_interpolations(latents: LatentSet, per_gap: int) -> LatentSet:
    """Add `per_gap` evenly spaced latents between neighbouring states of each system (CryoSampler: 93)."""
    rows = [(row, row, 0.0) for row in range(len(latents.system))]
    for row in range(len(latents.system) - 1):
        if latents.system[row] == latents.system[row + 1]:
            rows += [(row, row + 1, (k + 1) / (per_gap + 1)) for k in range(per_gap)]
    first, second = (torch.tensor([row[column] for row in rows]) for column in (0, 1))
    share = torch.tensor([row[2] for row in rows])
    latent = torch.lerp(latents.latent[first], latents.latent[second], share[:, None, None])
    weight = torch.lerp(latents.weight[first], latents.weight[second], share)
    return _normalised(latent, latents.system[first], weight)


def nearest_tokens(source: TokenGrid, target: TokenGrid) -> Tensor:
    """For each token of `target` the row of the nearest occupied token of `source`, (batch, token)."""
    distance = torch.cdist(target.centres_xyz, source.centres_xyz)
    return distance.masked_fill(~source.mask[:, None], torch.inf).argmin(-1)


class Lending:
    """Codes of relatives as read at another reference: the motion goes over, what is the lender's own does not.

    A code less that of its own reference (`motion`) is laid on the nearest tokens of the other reference and added to
    that one's own code.
    """

    def __init__(self, shelves: Shelves, latents: LatentSet, home: Tensor):
        self.home = home
        # (system, token) bool: which tokens are no padding
        self.occupied = torch.arange(home.shape[1]) < shelves.sizes()[:, 2:]
        self.motion = (latents.latent - home[latents.system]) * self.occupied[latents.system][..., None]
        self._latents, self._shelves = latents, shelves
        self._places: dict[tuple[int, int], Tensor] = {}

    def lent(self, rows: np.ndarray, weights: np.ndarray, system: int) -> Tensor:
        """(token, C): the code of `system`'s reference with the motions of the points `rows`, added up by weight."""
        code = self.home[system].clone()
        for row, weight in zip(rows.tolist(), weights.tolist(), strict=True):
            place = self._place(int(self._latents.system[row]), system)
            code[: len(place)] += weight * self.motion[row, place]
        return code

    def _place(self, source: int, target: int) -> Tensor:
        """(token of target,) rows of the source's tokens."""
        if (source, target) not in self._places:
            tokens = [self._shelves[torch.tensor([system])].tokens for system in (source, target)]
            self._places[source, target] = nearest_tokens(*tokens)[0]
        return self._places[source, target]

    def likeness(self, row: int, others: np.ndarray, system: int) -> np.ndarray:
        """(other,) cosine of the motion of a point with those of other points, all laid on the tokens of `system`."""

        def laid(point: int) -> Tensor:
            return self.motion[point, self._place(int(self._latents.system[point]), system)].flatten()

        own = laid(row)
        return np.array([float(torch.cosine_similarity(own, laid(other), dim=0)) for other in others.tolist()])


def _normalised(latent: Tensor, system: Tensor, weight: Tensor) -> LatentSet:
    total = torch.zeros(int(system.max()) + 1).index_add(0, system, weight)
    return LatentSet(latent, system, weight / total[system])
