"""A CUDA device that is none: tensors with a shape, a dtype and a device but no numbers, on any build of torch.

Operators compute shapes alone, and raise where tensors of two devices meet, as on a GPU. What depends on numbers
(``item``, ``tolist``, a branch on a tensor) raises too, which is where a GPU would have been waited for.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten


@contextmanager
def on_fake_cuda(mode: FakeTensorMode) -> Iterator[None]:
    """Everything that is made inside is fake; real tensors of the CPU that come in become so.

    Tensors of one mode know each other. It needs ``allow_non_fake_inputs``.
    """
    with torch.no_grad(), mode, _Guardless():
        yield


COMPUTING = ("vision_features", "project", "answer", "__call__")
"""The methods of a model that compute; what is around them, such as the reading of pictures, is for the CPU alone."""


def inside(mode: FakeTensorMode, method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that runs :func:`on_fake_cuda`."""

    @wraps(method)
    def run(*args: Any, **options: Any) -> Any:
        with on_fake_cuda(mode):
            return method(*args, **options)

    return run


def alive_on_cuda() -> list[FakeTensor]:
    """Every fake tensor there that something holds."""
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is FakeTensor and each.device.type == "cuda"]


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What attention gives, if one of CUDA's fused kernels takes these arguments; else they fall to the math kernel.

    The rules are those of ``can_use_flash_attention`` and ``can_use_efficient_attention`` in torch, which say no to
    everything on a build without CUDA.
    """
    assert {each.device for each in (q, k, v)} == {q.device if attn_mask is None else attn_mask.device}
    assert q.dtype == k.dtype == v.dtype and k.shape == v.shape
    (rows, heads, tokens, _), seen = q.shape, k.shape[2]
    flash = q.dtype != torch.float32 and attn_mask is None and (not is_causal or tokens == seen)
    efficient = heads == k.shape[1] and not enable_gqa
    assert flash or efficient, (
        f"{q.dtype}, heads {heads} to {k.shape[1]}, {'a' if attn_mask is not None else 'no'} mask"
    )
    assert {each.stride(-1) for each in (q, k, v)} == {1}
    if attn_mask is not None:
        # The bias that the kernel makes of it: in the dtype of q, padded to whole groups of 16 columns.
        attn_mask.expand(rows, heads, tokens, seen)
        torch.empty((*attn_mask.shape[:-1], -(-seen // 16) * 16), dtype=q.dtype, device=q.device)
    return torch.empty((rows, tokens, heads, v.shape[-1]), dtype=q.dtype, device=q.device).transpose(1, 2)


class Memory(TorchDispatchMode):
    """Counts what lies on the device beside ``kept``: while it is entered, inside of :func:`on_fake_cuda`.

    Attributes:
        taken: bytes now.
        peak: the most there were.
    """

    def __init__(self, kept: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in kept}
        self.taken = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type == "cuda":
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, nbytes = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.taken += nbytes
            self.peak = max(self.peak, self.taken)
            weakref.finalize(storage, self._free, key, nbytes)

    def _free(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self.taken -= nbytes


class _Guardless(TorchFunctionMode):
    """Methods that want to switch to their tensor's device, which this build may not know, as operators that do not."""

    operators: ClassVar = {
        Tensor.copy_: aten.copy_.default,
        Tensor.contiguous: aten.contiguous.default,
        Tensor.__invert__: aten.bitwise_not.default,
        F.scaled_dot_product_attention: lambda *args, **options: fused_attention(*args, **options),
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__:
            view, indices = _look(*args)
            return aten.index.Tensor(view, indices) if indices else view
        if func is Tensor.__setitem__:
            tensor, key, value = args
            view, indices = _look(tensor, key)
            value = value if isinstance(value, Tensor) else torch.tensor(value, dtype=view.dtype)
            return aten.index_put_.default(view, indices, value) if indices else aten.copy_.default(view, value)
        return self.operators.get(func, func)(*args, **(kwargs or {}))


def _look(tensor: Tensor, key: Any) -> tuple[Tensor, list[Tensor | None]]:
    """A tensor behind the numbers, slices and None of a key, and the tensors among it, a None for other dimensions."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is Ellipsis for part in parts):
        at = next(number for number, part in enumerate(parts) if part is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (tensor.ndim - sum(part is not None for part in parts) + 1)
    view, indices = tensor, []
    for part in parts:
        if isinstance(part, int):
            view = aten.select.int(view, len(indices), part)
            continue
        if part is None:
            view = view.unsqueeze(len(indices))
        elif isinstance(part, slice):
            view = aten.slice.Tensor(view, len(indices), part.start, part.stop, part.step or 1)
        indices.append(part if isinstance(part, Tensor) else torch.tensor(part) if isinstance(part, list) else None)
    return view, indices if any(index is not None for index in indices) else []
