"""A small real stage: a convolutional network with dropout learns to blur random maps."""

import time

import torch
from torch import Tensor, nn

from cryofound.training.noise import Noise, Silence


class ToyStage:
    """Fits 6^3 maps. `seconds_per_step` makes room for a kill; a `learning_rate` of 1e30 ends in infinity."""

    name = "toy"
    checkpoint_every = 10
    validate_every = 0
    log_every = 5
    warmup_steps = 5
    weight_decay = 0.01
    gradient_clip = 0.5
    batch_size = 4

    def __init__(self, steps: int = 60, learning_rate: float = 1e-2, seconds_per_step: float = 0.0):
        self.steps, self.learning_rate, self.seconds_per_step = steps, learning_rate, seconds_per_step

    def module(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return nn.Sequential(
                nn.Conv3d(1, 8, 3, padding=1), nn.GELU(), nn.Dropout(0.1), nn.Conv3d(8, 1, 3, padding=1)
            )

    def batch(self, step: int, part: int, parts: int) -> Tensor:
        time.sleep(self.seconds_per_step)
        whole = torch.randn(self.batch_size, 1, 6, 6, 6, generator=torch.Generator().manual_seed(step))
        return whole[part::parts]

    def samples(self, step: int) -> int:
        return self.batch_size

    def atoms(self, batch: Tensor) -> int:
        return 7 * len(batch)

    def describe(self, step: int) -> str:
        return f"toy maps of step {step}"

    def validate(self, module: nn.Module, part: int, parts: int) -> dict[str, Tensor]:
        """The misfit on the two batches before the first, which training never sees."""
        sums = torch.zeros(2)
        for step in (-2, -1):
            batch = self.batch(step, part, parts).to(next(module.parameters()).device)
            misfit = self.losses(module, batch, Silence(0, 0))["misfit"].cpu()
            sums += torch.stack([len(batch) * misfit, torch.tensor(float(len(batch)))])
        return {"loss": sums, "misfit": sums}

    def losses(self, module: nn.Module, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        target = nn.functional.avg_pool3d(batch, 3, stride=1, padding=1)
        misfit = (module(batch + 0.1 * noise.normal("blur", batch.shape, batch.device)) - target).square().mean()
        size = sum(weight.square().sum() for weight in module.parameters())
        assert isinstance(size, Tensor)
        return {"total": misfit + 1e-4 * size, "misfit": misfit}

    def export(self, module: nn.Module) -> dict[str, Tensor]:
        return {name: value.detach().float().cpu().contiguous() for name, value in module.state_dict().items()}
