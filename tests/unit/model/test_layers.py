"""Layers that save memory compute what they would without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from torch.nn import functional as F

from iaa_runtime import IAAModel
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.model.layers import MLP
from iaa_runtime.model.linear.kinds import PLAIN, Kinds


@pytest.mark.parametrize("kinds", [None, PLAIN], ids=["to answer", "to be taught"])
def test_an_mlp_computes_the_same_in_its_own_memory_and_for_gradients(tmp_path: Path, kinds: Kinds | None) -> None:
    geometry = Geometry(hidden_size=64, intermediate_size=96, heads=2, kv_heads=1)
    checkpoint = Checkpoint(make_checkpoint(tmp_path / "checkpoint", geometry))
    model = IAAModel(checkpoint, torch.float32, torch.device("cpu"), kinds=kinds)
    mlp = next(module for module in model.bank("base").modules() if isinstance(module, MLP))
    x = torch.randn((2, 5, 64), generator=torch.Generator().manual_seed(0))
    given = x.clone().requires_grad_()
    with torch.no_grad():
        expected = mlp.down_proj(F.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
        assert torch.equal(mlp(x), expected)
    with torch.inference_mode():
        assert torch.equal(mlp(x), expected)
    out = mlp(given)
    assert torch.equal(out, expected) and torch.equal(given, x)
    if kinds is PLAIN:  # others, by processor, have no gradients
        out.sum().backward()
        assert given.grad is not None and given.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("asked", "kept"),
    [(torch.float32, torch.bfloat16), (torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16)],
    ids=str,
)
def test_the_token_embedding_stays_as_narrow_as_it_is_stored(asked: torch.dtype, kept: torch.dtype) -> None:
    stored = Checkpoint(DEMO_CHECKPOINT).stored("g", "embed_tokens.weight")
    assert stored.dtype == torch.bfloat16
    model = IAAModel.from_pretrained(DEMO_CHECKPOINT, dtype=asked)
    stack = model.stack("G")
    assert stack.embed_tokens.weight.dtype == kept
    ids = torch.arange(0, stored.shape[0], 7)[None]
    rows = stack.embed(ids)
    assert rows.dtype == asked
    assert torch.equal(rows, torch.cat(list(stored.chunks())).view(stored.shape)[ids].to(asked))
    assert {p.dtype for name, p in model.bank("g").named_parameters() if "embed_tokens" not in name} == {asked}
