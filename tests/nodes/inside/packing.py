"""8-bit weights that are packed while ComfyUI's patchers own them: answers and unloading stay as they were."""

from __future__ import annotations

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
linear = sys.modules[f"{pack.__name__}.iaa_runtime.model.linear.int8_onednn"]
folder_paths.add_model_folder_path("iaa", sys.argv[1])
image = Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 50).convert("RGB")
handle = host.open_model("tiny", "bf16", "int8", "default", False, False)


def answers() -> Any:
    """What a batch of three phrases is answered; its steps multiply three rows."""
    with torch.inference_mode(), handle.in_use() as pipeline:
        return [d.to_dict() for d in pipeline.ground([image], ["panda", "leaf", "sky"], max_new_tokens=20)[0]]


def packed() -> list[bool]:
    """Of each layer that could be."""
    banks = map(handle.pipeline.model.bank, ("base", "g"))
    layers = [layer for bank in banks for layer in bank.modules() if isinstance(layer, linear.OneDNNInt8Linear)]
    return [layer.packed for layer in layers]


report: dict[str, Any] = {"able": linear.can_multiply_integers(), "first": answers(), "packed at first": any(packed())}
for _ in range(linear.PACKED_AFTER):  # some steps each
    report["later"] = answers()
report["packed later"] = all(packed())
memory.unload_all_models()
report["back"] = answers()
handle.pipeline.model.unload()
report["anew"], report["packed anew"] = answers(), any(packed())
print(json.dumps(report))
