"""From files to a device: large copies through two buffers, so that a GPU receives one while the other is read.

Only from pinned (page-locked) memory does CUDA copy by itself, at the bus's full speed; from any other it first copies
to pinned memory of its own, and the host waits.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor


class Staging:
    """Copies tensors of one dtype to one device that is not the CPU.

    Args:
        dtype: in which they arrive; they are converted on the way to the buffer.
        device: where they go.

    Attributes:
        nbytes: of each of the two buffers.
    """

    nbytes: ClassVar[int] = 64 << 20

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._device, self._pinned = device, device.type == "cuda" and torch.cuda.is_available()
        elements = max(1, self.nbytes // dtype.itemsize)
        self._buffers = [torch.empty(elements, dtype=dtype, pin_memory=self._pinned) for _ in range(2)]
        self._copied: list[torch.cuda.Event | None] = [None, None]
        self._next = 0

    def copy(self, tensor: Tensor, out: Tensor) -> None:
        """Copies ``tensor``, on the CPU, to ``out``, contiguous on the device. It may still be on its way afterwards.

        Whatever the device's current stream does next finds it there.
        """
        size = self._buffers[0].numel()
        for part, there in zip(torch.split(tensor.flatten(), size), torch.split(out.view(-1), size), strict=True):
            number, self._next = self._next, 1 - self._next
            copied, staged = self._copied[number], self._buffers[number][: part.numel()]
            if copied is not None:
                copied.synchronize()
            staged.copy_(part)
            there.copy_(staged, non_blocking=self._pinned)
            if self._pinned:
                self._copied[number] = torch.cuda.current_stream(self._device).record_event()
