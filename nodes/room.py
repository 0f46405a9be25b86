"""What teaching needs of ComfyUI: room for a model through which gradients flow, and a Cancel that can wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management as memory
import torch

from ..iaa_runtime.pipeline.local import IAAPipeline
from ..iaa_runtime.teaching.frozen import open_frozen
from .host import ModelHandle

_ALL = 1e30
"""Bytes: all that a device has, as ComfyUI writes it."""


@contextmanager
def opened_to_teach(handle: ModelHandle) -> Iterator[IAAPipeline]:
    """A model's checkpoint, opened once more in the same precision, through whose frozen weights gradients flow.

    ComfyUI's own layers compute without gradients, and their weights may move at any time. No weights are read before
    :func:`make_room` is called and they are needed, and none is left in memory at the end.

    Raises:
        ConfigError: gradients do not flow through its precision.
    """
    model = handle.pipeline.model
    dtype = None if model.dtype == torch.float16 else model.dtype  # whose gradients vanish
    with torch.inference_mode(False), memory.cuda_device_context(handle.device):
        opened = open_frozen(model.checkpoint.folder, dtype, handle.device, model.precision)
        try:
            yield opened
        finally:
            opened.model.unload()
            memory.soft_empty_cache()


def make_room(handle: ModelHandle) -> None:
    """Takes everything off a model's device, and frees its own weights: they are read anew when next needed.

    Two copies of a model may not fit, in graphics memory or in main memory.
    """
    memory.free_memory(_ALL, handle.device)
    handle.patchers.forget()
    handle.pipeline.model.unload()


def interrupted() -> bool:
    """Whether the user pressed Cancel, for what keeps its state before it ends with :func:`.host.check_interrupt`."""
    return bool(memory.processing_interrupted())


@contextmanager
def interrupt_kept() -> Iterator[None]:
    """Within, ComfyUI's own calls may come upon Cancel; it is left to be heard by :func:`interrupted`."""
    try:
        yield
    except memory.InterruptProcessingException:
        memory.interrupt_current_processing()
