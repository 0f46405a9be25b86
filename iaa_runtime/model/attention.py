"""Attention in which groups of query heads share a key and value head, by the kernel that a device has for it.

torch takes shared heads as they are (``enable_gqa``) where a fused kernel knows them: on a CPU always, on CUDA only for
16 bits without a mask; elsewhere it falls back to one that writes all scores out, and torch 2.5 and 2.6 crash on MPS.
So but for the CPU every query head gets a key head of its own here: query heads of a group look at the same keys, as
the queries of one head do, and stand as such in its place. Only where a prompt starts, and the mask is the kernel's own
causal one, are keys and values repeated, which are then as few as the queries.

cuDNN's kernel, which torch prefers on Hopper and later, is left out: for every new number of columns it first makes a
plan, which took 40 ms a decode step on an H100, where the step itself takes 2.

Symbols: B rows, T new tokens, S tokens seen so far (T included), G key-value heads, R query heads to each, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F


@contextmanager
def kernels_of_any_length(device: torch.device) -> Iterator[None]:
    """Keeps attention on ``device`` to kernels that take any number of columns as they come, while it is entered."""
    enabled = device.type == "cuda" and torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    if not enabled:
        yield
        return
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attends from ``q`` (B, G R, T, D) to ``k`` and ``v`` (B, G, S, D).

    Args:
        q: queries; heads of a group stand side by side.
        k: keys.
        v: values.
        mask: (B, 1, T, S), see :class:`.kv_cache.Positions`; None means causal with T = S, or everything for T = 1.

    Returns:
        (B, T, G R D).
    """
    shared, tokens = q.shape[1] // k.shape[1], q.shape[2]
    if tokens > 1 and (q.is_cpu or shared == 1):
        causal = mask is None
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=shared > 1)
    else:
        mixed = attend_ungrouped(q, k, v, mask)
    return mixed.transpose(1, 2).flatten(2)


def attend_ungrouped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The same as (B, G R, T, D), by a kernel that knows no groups."""
    rows, heads, tokens, size = q.shape
    groups = k.shape[1]
    if mask is None and tokens > 1:
        k, v = (each.repeat_interleave(heads // groups, dim=1) for each in (k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    if mask is not None and tokens > 1:
        mask = mask.repeat(1, 1, heads // groups, 1)
    mixed = F.scaled_dot_product_attention(q.reshape(rows, groups, -1, size), k, v, attn_mask=mask)
    return mixed.reshape(q.shape)
