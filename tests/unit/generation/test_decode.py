"""Decode steps of unchanging shapes against plain ones; the capture itself only where there is a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from make_checkpoint import make_checkpoint
from torch import Tensor

from iaa_runtime import IAAModel
from iaa_runtime.generation.decode import EagerSteps, FixedSteps, Steps, decode_steps
from iaa_runtime.generation.prefill import Prompt, prefill
from iaa_runtime.model.fixed_kv_cache import FixedCache
from iaa_runtime.model.kv_cache import KVCache
from iaa_runtime.model.stack import Stack

RAGGED = [(1, 2, 3, 4, 5), (1, 9), (7, 7, 7)]
SHARED = [(1, 2, 3, 4, 5), (1, 2, 3, 9), (1, 2, 3, 7, 7, 7)]
ALIKE = [(4, 5, 6), (6, 5, 4)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return IAAModel.from_pretrained(make_checkpoint(tmp_path_factory.mktemp("decode") / "checkpoint")).stack("MM")


def run(
    kind: type[EagerSteps] | type[FixedSteps], stack: Stack, ids: list[tuple[int, ...]], count: int
) -> list[Tensor]:
    """Logits step by step of greedy decoding; half-way the first row leaves."""
    cache, logits = prefill(stack, [Prompt(row) for row in ids], count)
    for tensor in (*cache.keys, *cache.values):
        tensor[:, :, cache.columns :] = float("nan")  # as memory fresh from the system may be
    steps = cast(Steps, kind(stack, cache))
    seen = [logits]
    for step in range(count):
        tokens = seen[-1].argmax(-1)
        if step == count // 2:
            keep = torch.arange(1, len(ids))
            steps.select(keep)
            tokens = tokens[1:]
        seen.append(steps(tokens))
    return seen


@pytest.mark.parametrize("ids", [RAGGED, SHARED, ALIKE], ids=["ragged", "shared prefix", "alike"])
def test_fixed_steps_are_plain_steps(stack: Stack, ids: list[tuple[int, ...]]) -> None:
    with torch.no_grad():
        plain, fixed = run(EagerSteps, stack, ids, 8), run(FixedSteps, stack, ids, 8)
    for one, other in zip(plain, fixed, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


def test_a_full_cache_says_so(stack: Stack) -> None:
    cache, logits = prefill(stack, [Prompt((1, 2))], 1)
    steps = FixedSteps(stack, cache)
    steps(logits.argmax(-1))
    with pytest.raises(ValueError, match="all are full"):
        steps(logits.argmax(-1))


def test_a_fixed_cache_takes_one_token_a_row() -> None:
    cache = FixedCache(KVCache(1, 1, 4, 1, 2, torch.float32, torch.device("cpu")))
    with pytest.raises(ValueError, match="one token a row"):
        cache.extend(2)


def test_the_cpu_captures_nothing(tmp_path: Path) -> None:
    stack = IAAModel.from_pretrained(make_checkpoint(tmp_path / "checkpoint"), cuda_graphs=True).stack("Text")
    cache, _ = prefill(stack, [Prompt((1, 2))], 1)
    assert isinstance(decode_steps(stack, cache), EagerSteps)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
def test_a_captured_step_is_a_plain_step(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    said = [
        IAAModel.from_pretrained(folder, torch.float32, "cuda", cuda_graphs=graphs).generate(
            torch.tensor([[1, 2, 3], [4, 5, 6]]), task="Text", max_new_tokens=20
        )
        for graphs in (False, True)
    ]
    assert torch.equal(*said)
