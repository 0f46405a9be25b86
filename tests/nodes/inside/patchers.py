"""Who owns the weights, and whether an answer survives everything that ComfyUI may do to them."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import bring_up
import comfy.model_management as memory
import comfy.model_patcher
import folder_paths
import torch
from PIL import Image

pack, _ = bring_up.load_pack()
host = pack.nodes.host
folder_paths.add_model_folder_path("iaa", sys.argv[1])
image = Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 50).convert("RGB")
report: dict[str, Any] = {}


def answer(handle: Any) -> Any:
    """Boxes with scores and a caption: all banks but ``text`` take part."""
    with torch.inference_mode(), handle.in_use() as pipeline:
        pipeline.vision_cache.clear()
        boxes = [d.to_dict() for d in pipeline.ground([image], ["panda"])[0]]
        return boxes, pipeline.caption([image], max_new_tokens=8), pipeline.text("hello", max_new_tokens=8)


def loaded(handle: Any) -> int:
    """How many of our patchers ComfyUI counts as loaded."""
    return sum(any(entry.model is patcher for entry in memory.current_loaded_models) for patcher in handle.patchers.all)


def tensors(module: torch.nn.Module) -> set[int]:
    """Addresses of a module's weights."""
    return {t.data_ptr() for t in [*module.parameters(), *module.buffers()]}


def interrupted(work: Callable[[], object]) -> bool:
    """Whether Cancel, pressed before, stops the work."""
    memory.interrupt_current_processing(True)
    try:
        work()
    except memory.InterruptProcessingException:
        return True
    finally:
        memory.interrupt_current_processing(False)
    return False


handle = host.open_model("tiny", "fp32", host.AS_STORED, "default", False, False)
cancelled = interrupted(partial(handle.pipeline.model.load, "base"))
report["cancelled while reading"] = cancelled and handle.pipeline.model.loaded_banks == ()
report["before first use"] = len(handle.patchers.all)
first = answer(handle)
report["patchers"] = len(handle.patchers.all)
report["loaded"] = loaded(handle)
report["classes"] = sorted({type(p).__name__ for p in handle.patchers.all})
report["wanted class"] = comfy.model_patcher.CoreModelPatcher.__name__
owned = set().union(*(tensors(p.model) for p in handle.patchers.all))
model = handle.pipeline.model
used = set().union(*(tensors(model.bank(name)) for name in model.loaded_banks))
report["weights outside patchers"] = len(used - owned)
report["weights"] = len(used)
# Weights that hang on our objects but on no patcher: everything of ours that is as large as a weight matrix.
mine = {id(m) for p in handle.patchers.all for m in p.model.modules()}
report["modules outside patchers"] = sum(
    1
    for m in gc.get_objects()
    if isinstance(m, torch.nn.Module) and bring_up.part_of(pack, type(m).__module__) and id(m) not in mine
)

memory.unload_all_models()
report["loaded after unload_all_models"] = loaded(handle)
report["same after unload_all_models"] = answer(handle) == first

for patcher in handle.patchers.all:
    patcher.partially_unload(patcher.offload_device, 1 << 40)
report["same after partial unload"] = answer(handle) == first
for patcher in handle.patchers.all:
    patcher.detach()
report["same after detach"] = answer(handle) == first

tower, pixels = model.bank("vision"), torch.zeros(1, 3, model.vision.image_size, model.vision.image_size)
report["cancelled while seeing"] = interrupted(partial(tower, pixels))
stack = model.stack("MM")
embedded = torch.zeros(1, 4, model.config.hidden_size)
report["cancelled while reading a prompt"] = interrupted(partial(stack.hidden, embedded))
del tower, stack

other = comfy.model_patcher.CoreModelPatcher(torch.nn.Linear(64, 64), memory.get_torch_device(), torch.device("cpu"))
report["loaded before another model needs room"] = loaded(handle)
memory.free_memory(1 << 60, memory.get_torch_device())
memory.load_models_gpu([other])
report["loaded after another model needed room"] = loaded(handle)
report["same after eviction"] = answer(handle) == first

model.unload("g")
report["same after a bank was read anew"] = answer(handle) == first

again = host.open_model("tiny", "fp32", host.AS_STORED, "default", False, False)
report["one model for two loaders"] = again is handle
other = host.open_model("tiny", "fp16", host.AS_STORED, "default", False, False)
report["another precision is another model"] = other is not handle

alive = weakref.ref(handle)
del handle, again, model, patcher
gc.collect()
report["forgotten when unused"] = alive() is None
kept = weakref.ref(host.open_model("tiny", "fp32", host.AS_STORED, "default", True, False))
gc.collect()
report["kept when asked to"] = kept() is not None
host.open_model("tiny", "fp32", host.AS_STORED, "default", False, False)
gc.collect()
report["forgotten when no longer asked to"] = kept() is None
print(json.dumps(report))
