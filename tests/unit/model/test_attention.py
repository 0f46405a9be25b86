"""Attention with shared key heads: what each device's kernel is given, and that all of them compute the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_cuda import CUDA, on_fake_cuda
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

from iaa_runtime.model.attention import attend, attend_ungrouped

CASES = {
    "a prompt's start": (5, 5, False),
    "a later part of a prompt": (3, 9, True),
    "a padded prompt": (5, 5, True),
    "a step": (1, 9, False),
    "a step of padded rows": (1, 9, True),
}


def tensors(case: str, groups: int, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> Any:
    """Queries, keys, values and a mask of two rows with 4 query heads; the second row starts with padding."""
    tokens, seen, masked = CASES[case]
    random = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn((2, count, heads, 8), generator=random).transpose(1, 2).to(device, dtype)
        for count, heads in ((tokens, 4), (seen, groups), (seen, groups))
    )
    columns, queries = torch.arange(seen), torch.arange(seen - tokens, seen)[:, None]
    real = columns[None] >= torch.tensor([[0], [2]])
    mask = (columns <= queries) & real[:, None, None] | (columns == queries)
    return q, k, v, mask.to(device) if masked else None


def by_hand(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scores, softmax and sum of each head, in float64."""
    q, (k, v) = q.double(), (each.double().repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is None and q.shape[2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1) @ v


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("case", CASES)
def test_every_way_is_attention_by_hand(case: str, groups: int) -> None:
    given = tensors(case, groups)
    wanted = by_hand(*given).float()
    torch.testing.assert_close(attend(*given), wanted.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attend_ungrouped(*given), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("case", CASES)
def test_cuda_has_a_fused_kernel_for_it(case: str, groups: int, dtype: torch.dtype) -> None:
    """With shared heads and a mask, and in float32 at all, it fell to the kernel that writes all scores out."""
    with on_fake_cuda(FakeTensorMode(allow_non_fake_inputs=True)):
        q, k, v, mask = tensors(case, groups, dtype, CUDA)
        assert attend(q, k, v, mask).shape == (2, q.shape[2], 32)  # fake attention refuses what fused kernels do


@pytest.mark.parametrize("case", CASES)
def test_no_other_device_is_asked_for_shared_heads(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    whole = F.scaled_dot_product_attention

    def spy(*args: Any, enable_gqa: bool = False, **options: Any) -> Tensor:
        asked.append(enable_gqa)
        return whole(*args, enable_gqa=enable_gqa, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    attend(*tensors(case, 2, device="meta"))
    attend(*tensors(case, 2))
    assert asked == [False, CASES[case][0] > 1], "MPS crashes on them in torch 2.5 and 2.6; a CPU is slower without"
