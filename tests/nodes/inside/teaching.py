"""What memory IAA Teach takes and gives back: the model's own weights go first, and those that are taught go after."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from pathlib import Path
from typing import Any

import bring_up
import comfy.model_management as memory
import comfy.model_patcher
import folder_paths
import torch
from PIL import Image

pack, _ = bring_up.load_pack()
host, room = pack.nodes.host, pack.nodes.room
runtime = pack.iaa_runtime
folder_paths.add_model_folder_path("iaa", sys.argv[1])
out = Path(sys.argv[2])
picture = Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 50).convert("RGB")
report: dict[str, Any] = {}


def answer(handle: Any) -> Any:
    """Boxes and their scores."""
    with torch.inference_mode(), handle.in_use() as pipeline:
        pipeline.vision_cache.clear()
        return [d.to_dict() for d in pipeline.ground([picture], ["panda"])[0]]


def loaded(patchers: list[Any]) -> int:
    """How many patchers ComfyUI counts as loaded."""
    return sum(any(entry.model is patcher for entry in memory.current_loaded_models) for patcher in patchers)


handle = host.open_model("tiny", "fp32", host.AS_STORED, "default", False, False)
first = answer(handle)
other = comfy.model_patcher.CoreModelPatcher(torch.nn.Linear(64, 64), memory.get_torch_device(), torch.device("cpu"))
memory.load_models_gpu([other])
own = [weakref.ref(handle.pipeline.model.bank(name)) for name in handle.pipeline.model.loaded_banks]
report["own banks before"] = len(own)
report["loaded before"] = loaded([other, *handle.patchers.all])

taught: list[Any] = []
shown = [runtime.teaching.examples.Example(picture.copy(), "it", ((8.0, 8.0, 40.0, 40.0),)) for _ in range(3)]
wanted = runtime.config.teaching.TeachSettings(steps=1, rank=1, batch=1)


def note(what: str, done: int, total: int) -> None:
    """While it learns: whose weights are in memory."""
    if what == "steps":
        gc.collect()
        taught.extend(weakref.ref(opened.model.bank(name)) for name in opened.model.loaded_banks)
        report["own banks meanwhile"] = sum(bank() is not None for bank in own)
        report["loaded meanwhile"] = loaded([other, *handle.patchers.all])


with torch.inference_mode(), room.opened_to_teach(handle) as opened:
    report["banks of the copy before room was made"] = len(opened.model.loaded_banks)
    room.make_room(handle)
    runtime.teaching.teach.teach(opened, shown, wanted, out / "it.safetensors", on_progress=note)
model = weakref.ref(opened.model)
report["banks that are taught"] = len(taught)
gc.collect()
report["banks of the copy at the end"] = sum(bank() is not None for bank in taught)
del opened
gc.collect()
report["the copy is gone"] = model() is None
report["answers as before"] = answer(handle) == first

try:
    with torch.inference_mode(), room.opened_to_teach(handle) as opened:
        opened.model.load("base")
        raise KeyError
except KeyError:
    report["banks of the copy after an error"] = len(opened.model.loaded_banks)
print(json.dumps(report))
