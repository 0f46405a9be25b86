"""What a benchmark may be made of: sizes, parts, peers and clocks. Declared without torch, for the command line."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from ..config import IAAConfig, VisionConfig

PARTS = {
    "load": "memory of a first caption, and loading each bank",
    "steps": "vision, prefill and decode",
    "answers": "captions, grounding and text",
    "peers": "captions and text in other engines",
    "precisions": "prefill and decode at each precision, and in llama.cpp",
}
"""What a run may consist of."""

PEERS = {"eager": "transformers eager", "static": "transformers static", "vllm": "vLLM", "llama.cpp": "llama.cpp"}
"""Transformers' ``generate`` with its default and with a static cache, vLLM's engine, llama.cpp; and names in rows."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu`` counts this process's own seconds: with one thread, other load on the machine hardly shows in it."""


@dataclass(frozen=True)
class Size:
    """A checkpoint's geometry, and the batches of pictures that are timed with it."""

    config: IAAConfig
    vision: VisionConfig
    batches: tuple[int, ...] = (1, 4, 8, 16)


_config = partial(IAAConfig, mm_projector_type="mlp2x_gelu")
SIZES = {
    "tiny": Size(
        _config(64, 128, 4, 2, 1680, 64, 1, iaa_insert_layers=(0, 3)), VisionConfig(64, 128, 2, 2, image_size=56)
    ),
    "small": Size(_config(512, 1792, 32, 8, 8192, 256, 2), VisionConfig(256, 1024, 6, 4)),
    "wide": Size(
        _config(4096, 14336, 4, 32, 2048, 256, 8, rope_theta=500000.0, iaa_insert_layers=(0, 2)),
        VisionConfig(256, 1024, 6, 4),
        batches=(1, 8),
    ),
    "full": Size(
        _config(4096, 14336, 32, 32, 128256, 1024, 8, rope_theta=500000.0, max_position_embeddings=8192),
        VisionConfig(),
    ),
}
"""``tiny`` only shows that it runs, ``small`` is for CPUs, ``wide`` has matrices as large as the published ones but few
(3.6 GB in bfloat16), ``full`` is the published size (33 GB)."""
