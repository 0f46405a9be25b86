"""What ComfyUI's patcher places of a bank, counts and copies; ``meta`` stands for a GPU that has too little room."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import bring_up
import comfy.model_management as memory
import comfy.model_patcher
import comfy.ops
import torch

pack, _ = bring_up.load_pack()
host, quantized = pack.nodes.host, pack.nodes.quantized
Checkpoint, IAAModel, PRECISIONS = host.Checkpoint, host.IAAModel, host.PRECISIONS
GPU, RAM = torch.device("meta"), torch.device("cpu")
copied = 0


def cast_to(weight: torch.Tensor, dtype: Any = None, device: Any = None, **options: Any) -> torch.Tensor:
    """ComfyUI's, which notes what it moves."""
    global copied
    if device is not None and weight.device != torch.device(device):
        copied += weight.nbytes
    return whole(weight, dtype, device, **options)


whole, memory.cast_to = memory.cast_to, cast_to
memory.get_offload_stream = lambda device: None


def placed(module: torch.nn.Module) -> int:
    """Bytes on the device."""
    return sum(tensor.nbytes for tensor in module.state_dict().values() if tensor.device == GPU)


def placement(precision: str) -> dict[str, Any]:
    """Loads a bank into half the room that it needs, runs it, then loads it whole and runs it again."""
    global copied
    low, dtype = precision in PRECISIONS, host.DTYPES.get(precision) or torch.bfloat16
    kinds = quantized.hosted_kinds(precision if low else None, dtype, GPU)
    model = IAAModel(Checkpoint(Path(sys.argv[1]) / "tiny"), dtype, RAM, comfy.ops.manual_cast, kinds=kinds)
    bank = model.bank("base")
    memory.archive_model_dtypes(bank)
    patcher = comfy.model_patcher.ModelPatcher(bank, GPU, RAM)
    size = sum(tensor.nbytes for tensor in bank.state_dict().values())
    matrix = max((m for m in bank.modules() if hasattr(m, "comfy_cast_weights")), key=memory.module_size)
    report: dict[str, Any] = {"size": size, "counted": patcher.model_size(), "largest": memory.module_size(matrix)}
    for name, room in (("half", size // 2), ("whole", 1e32)):
        patcher.load(GPU, lowvram_model_memory=room, full_load=False)
        report[f"{name} placed"], report[f"{name} reported"] = placed(bank), patcher.loaded_size()
        copied = 0
        x = torch.empty(1, 3, model.config.hidden_size, dtype=dtype, device=GPU)
        for block in bank.layers:
            block.mlp.up_proj(x), block.self_attn.q_proj(x)
        report[f"{name} copied"] = copied
    report["run"] = sum(memory.module_size(m) for b in bank.layers for m in (b.mlp.up_proj, b.self_attn.q_proj))
    return report


print(json.dumps({precision: placement(precision) for precision in ("fp32", "bf16", "fp8", "int8", "int4")}))
