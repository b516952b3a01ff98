"""Tables of tensors that move to a device as one."""

from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor


class OnDevice:
    """Base of frozen dataclasses whose fields are tensors, others of their kind, or plain values, which stay."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device; what is there already is not copied."""
        table: Any = self
        parts = {field.name: getattr(self, field.name) for field in fields(table)}
        return replace(
            table, **{name: part.to(device) for name, part in parts.items() if isinstance(part, Tensor | OnDevice)}
        )
