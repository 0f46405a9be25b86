"""One layer of a converted checkpoint as ComfyUI's quantized Linear computes it, beside its dequantized weight."""

from __future__ import annotations

import json
import sys

import bring_up  # noqa: F401 - sets ComfyUI up
import comfy.ops
import torch
from safetensors.torch import load_file

stored = load_file(sys.argv[1])
prefix = "model.layers.0.mlp.up_proj."
state = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
weight = state["weight"].float() * state["weight_scale"]
layer = comfy.ops.mixed_precision_ops({}, torch.float32).Linear(weight.shape[1], weight.shape[0], bias=False)
layer.load_state_dict(dict(state))
x = torch.randn(3, weight.shape[1], generator=torch.Generator().manual_seed(0))
expected = x @ weight.t()
error = float((layer(x) - expected).norm() / expected.norm())
print(json.dumps({"format": layer.quant_format, "error": error}))
