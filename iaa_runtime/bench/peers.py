"""The peers we are timed against: which there are, and the exported checkpoint in stock transformers and in vLLM."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..config import IMAGE_TOKEN_INDEX
from ..model.dtypes import dtype_name
from .choices import PEERS

STOCK = {"eager", "static"}
ANSWERING = ("eager", "static", "vllm")
"""Those that are timed with whole answers; llama.cpp is timed step by step, beside precisions (:mod:`.precisions`)."""
PACKAGES = {"vllm": {"vllm": "vllm"}, "llama.cpp": {"llama_cpp": "llama-cpp-python", "gguf": "gguf"}}
"""What a peer needs that is no part of this project: what is imported, and what is installed."""


@dataclass(frozen=True)
class Workload:
    """One prompt and the length of its answer, the same for every peer.

    Attributes:
        ids: the prompt (T), with -200 where the image goes.
        new_tokens: length of the answer, exactly.
        picture: the image; None for the language model alone.
        pixels: the image preprocessed, (1, 3, size, size) float32.
        patches: tokens that the image takes.
    """

    ids: Sequence[int]
    new_tokens: int
    picture: Image.Image | None = None
    pixels: Tensor | None = None
    patches: int = 0


Answer = Callable[[], Tensor]
"""Generates the answer: ``new_tokens`` greedy tokens (1, new)."""


def missing(peer: str) -> str | None:
    """Why a peer cannot run here, and what would help; None where it can."""
    packages = PACKAGES.get(peer, {})
    if peer in STOCK:
        from transformers.utils import is_torch_available

        if not is_torch_available():  # it says so of a torch that is too old for it, too
            return f"{PEERS[peer]} does not run with torch {torch.__version__}: install a newer torch"
    if all(importlib.util.find_spec(module) for module in packages):
        return None
    return f"{PEERS[peer]} is not installed here: pip install {' '.join(packages.values())}"


def answers(
    peers: Sequence[str], folder: Path, dtype: torch.dtype, device: torch.device, work: Workload
) -> dict[str, Answer]:
    """Loads an exported task into each peer that is installed; returns what generates its answer to ``work``."""
    stock = _stock(folder, dtype, device, work) if STOCK & set(peers) else None
    made: dict[str, Answer] = {}
    for peer in peers:
        if peer in ANSWERING and missing(peer) is None:
            made[peer] = _in_vllm(folder, dtype, device, work) if peer == "vllm" else _in_stock(stock, peer, work)
    return made


def _stock(folder: Path, dtype: torch.dtype, device: torch.device, work: Workload) -> Any:
    from transformers import LlamaForCausalLM, LlavaForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()  # which steers the terminal, as no foreign text may
    kind: Any = LlamaForCausalLM if work.pixels is None else LlavaForConditionalGeneration
    return kind.from_pretrained(folder, dtype=dtype).to(device).eval()


def _in_stock(model: Any, peer: str, work: Workload) -> Answer:
    image = [int(model.config.image_token_index)] * work.patches if work.patches else []
    longer = [t for i in work.ids for t in (image if i == IMAGE_TOKEN_INDEX else [i])]
    prompt = torch.tensor([longer], device=model.device)
    options = {
        "input_ids": prompt,
        "attention_mask": torch.ones_like(prompt),
        "max_new_tokens": work.new_tokens,
        "min_new_tokens": work.new_tokens,
        "do_sample": False,
        "pad_token_id": 0,
        "cache_implementation": "static" if peer == "static" else None,
    }
    if work.pixels is not None:
        options["pixel_values"] = work.pixels.to(model.device, model.dtype)

    @torch.no_grad()
    def answer() -> Tensor:
        out: Tensor = model.generate(**options)
        return out[:, prompt.shape[1] :].cpu()

    return answer


def _in_vllm(folder: Path, dtype: torch.dtype, device: torch.device, work: Workload) -> Answer:
    """vLLM preprocesses the picture itself, which is timed with the rest; its caches between runs are off."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    from vllm import LLM, SamplingParams

    limits: dict[str, Any] = {"enforce_eager": True}  # on a CPU it would compile for minutes
    if device.type == "cuda":
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        total = torch.cuda.get_device_properties(device).total_memory
        limits = {"gpu_memory_utilization": min(0.9, (1.1 * weights + (4 << 30)) / total)}  # others share the device
    engine: Any = LLM(
        str(folder),
        dtype=dtype_name(dtype),
        max_model_len=len(work.ids) + work.patches + work.new_tokens,
        max_num_seqs=1,
        enable_prefix_caching=False,
        mm_processor_cache_gb=0,
        **limits,
    )
    count = work.new_tokens
    sampling: Any = SamplingParams(temperature=0, max_tokens=count, min_tokens=count, ignore_eos=True)
    prompt: dict[str, Any] = {"prompt_token_ids": list(work.ids)}
    if work.picture is not None:
        image = int(engine.llm_engine.model_config.hf_config.image_token_index)
        prompt["prompt_token_ids"] = [image if i == IMAGE_TOKEN_INDEX else i for i in work.ids]
        prompt["multi_modal_data"] = {"image": work.picture}

    def answer() -> Tensor:
        results = engine.generate(prompt, sampling, use_tqdm=False)
        return torch.tensor([results[0].outputs[0].token_ids])

    return answer
