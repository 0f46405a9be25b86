"""What an answer takes of a real GPU, at every precision, beside what ComfyUI is told; and what is given back."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import bring_up
import comfy.model_management as memory
import folder_paths
import torch
from PIL import Image

pack, _ = bring_up.load_pack()
host = pack.nodes.host
folder_paths.add_model_folder_path(host.FOLDER, sys.argv[1])
image = Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 50).convert("RGB")
told = 0
load_models_gpu = memory.load_models_gpu


def noting(models: list[Any], memory_required: int = 0, **more: Any) -> None:
    """ComfyUI's, which notes what beside the weights it is asked for."""
    global told
    told = max(told, int(memory_required))
    load_models_gpu(models, memory_required=memory_required, **more)


memory.load_models_gpu = noting


def answer(handle: Any) -> Any:
    """Boxes with scores, and a caption."""
    with torch.inference_mode(), handle.in_use() as pipeline:
        pipeline.vision_cache.clear()
        boxes = [d.to_dict() for d in pipeline.ground([image], ["panda"], max_new_tokens=40)[0]]
        return boxes, pipeline.caption([image], max_new_tokens=8)


def run(weights: str) -> dict[str, Any]:
    """Opens a model, answers twice, and lets ComfyUI unload it between and afterwards."""
    global told
    told = 0
    handle = host.open_model(sys.argv[2], "bf16", weights, "default", False, False)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    first = answer(handle)
    report = {
        "weights reported": sum(patcher.loaded_size() for patcher in handle.patchers.all),
        "weights taken": torch.cuda.memory_allocated() - before,
        "work reported": told,
        "peak": torch.cuda.max_memory_allocated() - before,
    }
    memory.unload_all_models()
    gc.collect()
    report["left"] = torch.cuda.memory_allocated() - before
    report["same after unloading"] = answer(handle) == first
    memory.unload_all_models()
    return report


answer(host.open_model(sys.argv[2], "bf16", host.AS_STORED, "default", False, False))  # libraries take their own
memory.unload_all_models()
print(json.dumps({weights: run(weights) for weights in host.WEIGHTS}))
