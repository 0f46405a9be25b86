"""What a user would run instead: the exported checkpoint in stock transformers. The only place that runs its models."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PEERS = {"eager": None, "static": "static"}
"""Name -> ``cache_implementation`` of transformers' ``generate``."""


class StockLlava:
    """An exported MM or G task in ``LlavaForConditionalGeneration``."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import LlavaForConditionalGeneration

        model: Any = LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype)
        self._model = model.to(device).eval()
        self._device = device
        self._image_token = int(model.config.image_token_index)

    @torch.no_grad()
    def generate(self, ids: Tensor, pixels: Tensor, patches: int, new_tokens: int, cache: str | None) -> Tensor:
        """Exactly ``new_tokens`` greedy tokens (B, new) for ids (B, T) with -200 for each row's image."""
        image = [self._image_token] * patches
        longer = [[t for i in row for t in (image if i == -200 else [i])] for row in ids.tolist()]
        given = torch.tensor(longer, device=self._device)
        out: Tensor = self._model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            pixel_values=pixels.to(self._device, self._model.dtype),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
            cache_implementation=cache,
        )
        return out[:, given.shape[1] :].cpu()


def vllm_note() -> str:
    """Why there is no row for vLLM."""
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed here"
    return "vLLM is installed; it keeps the device to itself, so time it apart: vllm bench latency --model EXPORTED"
