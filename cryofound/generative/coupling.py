"""Which noise goes with which data: straight paths that cross less are learnt from fewer steps (arXiv 2302.00482)."""

import torch
from torch import Tensor


def optimal_coupling(x_0: Tensor, x_1: Tensor, group: Tensor) -> Tensor:
    """Rows of x_0 for the rows of x_1 so that the squared distance is least, exchanged within a group only.

    x_0, x_1 (batch, ...) of one shape, group (batch,) int64: only points of one condition may be exchanged, as another
    one's noise may have other occupied places. Returns (batch,) int64, a permutation. Exact (POT's network simplex,
    Bonneel 2011), and the same for the same input.
    """
    import ot  # seconds, and only for those who ask for it

    order = torch.arange(len(x_0))
    first, second = (points.detach().flatten(1).double().cpu() for points in (x_0, x_1))
    for each in group.unique().tolist():
        rows = torch.nonzero(group.cpu() == each).flatten()
        if len(rows) > 1:
            cost = torch.cdist(second[rows], first[rows]).square().numpy()
            # equal weights: a vertex of the transport polytope is a permutation (Birkhoff)
            order[rows] = rows[torch.from_numpy(ot.emd([], [], cost).argmax(1))]
    return order.to(x_0.device)
