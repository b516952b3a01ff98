"""The probability path of flow matching: a straight line from noise to data (Lipman 2023, arXiv 2210.02747)."""

from torch import Tensor


def linear_path(x_0: Tensor, x_1: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Point and velocity at `time` (batch,) in 0 to 1 between noise x_0 and data x_1, (batch, ...) each.

    x_t = t x_1 + (1 - t) x_0, dx/dt = x_1 - x_0.
    """
    t = time.view(-1, *[1] * (x_1.dim() - 1))
    return t * x_1 + (1 - t) * x_0, x_1 - x_0
