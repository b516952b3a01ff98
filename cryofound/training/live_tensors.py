"""Bytes of the tensors that are alive at once, counted operation by operation; they need not be real.

Under torch's fake tensors, which have shapes and no values, the same code runs at sizes that no memory would hold.
What an operation takes for itself while it runs is not seen, so the count is a lower bound.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """While it is entered, `peak` is the largest sum of bytes of the storages met since then, `held` left out."""

    def __init__(self, held: Iterable[Tensor] = ()):
        super().__init__()
        self.peak = 0
        self._held = [each.untyped_storage() for each in held]  # kept, so that their numbers are not given away
        self._alive: dict[int, int] = {storage._cdata: 0 for storage in self._held}
        self._bytes = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and count the storages it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            self._bytes += storage.nbytes()
            self.peak = max(self.peak, self._bytes)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._bytes -= self._alive.pop(key)
