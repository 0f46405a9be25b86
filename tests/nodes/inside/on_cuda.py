"""Answers on a fake CUDA device, with half of each bank placed there by ComfyUI's patcher and the rest streamed.

Whatever is on the wrong device raises. When the banks are given back, nothing of ours may be left there.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

PACK = Path(__file__).parents[3]
sys.path.append(str(PACK / "tests"))

import bring_up  # noqa: E402
import comfy.model_management as memory  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.ops  # noqa: E402
import torch  # noqa: E402
from fake_cuda import COMPUTING, CUDA, alive_on_cuda, inside, on_fake_cuda  # noqa: E402
from PIL import Image  # noqa: E402
from torch._subclasses import FakeTensorMode  # noqa: E402

pack, _ = bring_up.load_pack()
host, hosted_kinds = pack.nodes.host, pack.nodes.quantized.hosted_kinds
CPU, PICTURE = torch.device("cpu"), Image.new("RGB", (40, 30), "red")
MODE = FakeTensorMode(allow_non_fake_inputs=True)
torch.cuda.get_device_capability = lambda device=None: (8, 9)
memory.get_offload_stream = lambda device: None
torch.cuda.synchronize = lambda: None
for name in COMPUTING:
    setattr(host.IAAModel, name, inside(MODE, getattr(host.IAAModel, name)))
chance = random.Random(0)


def to_host(*tensors: torch.Tensor) -> tuple[list[Any], ...]:
    """Random tokens, in place of those that a device would have computed."""

    def lists(shape: torch.Size, is_floating: bool) -> list[Any]:
        if len(shape) > 1:
            return [lists(shape[1:], is_floating) for _ in range(shape[0])]
        return [-0.5] * shape[0] if is_floating else chance.sample(range(40), shape[0])

    return tuple(lists(tensor.shape, tensor.is_floating_point()) for tensor in tensors)


for name in ("beam", "drafting", "loop"):
    sys.modules[f"{pack.__name__}.iaa_runtime.generation.{name}"].to_host = to_host


def to(module: torch.nn.Module, *args: Any, **options: Any) -> torch.nn.Module:
    """``Module.to`` by new parameters: torch's swaps the old ones for them, which fake ones cannot be."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(parameter.to(*args, **options), requires_grad=False)
    return module


torch.nn.Module.to = to


class Placing:
    """Puts a part of each bank onto the device when it is used, as ComfyUI does where room is short."""

    def __init__(self, part: float) -> None:
        self.part, self.patchers = part, {}

    def __call__(self, banks: Any, working_bytes: int) -> None:
        for name, module in banks.items():
            if name not in self.patchers:
                memory.archive_model_dtypes(module)
                self.patchers[name] = comfy.model_patcher.ModelPatcher(module, CUDA, CPU)
                room = self.part * self.patchers[name].model_size()
                self.patchers[name].load(CUDA, lowvram_model_memory=room, full_load=False)

    def give_back(self) -> None:
        """What ComfyUI does on /free, and where another model needs the room."""
        with on_fake_cuda(MODE):
            for patcher in self.patchers.values():
                patcher.detach()


def on_device() -> int:
    """Bytes on the device."""
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in alive_on_cuda()}.values())


def run(precision: str | None, dtype: torch.dtype, part: float) -> dict[str, int]:
    """Runs every task. Returns the bytes of all banks, and those on the device after an answer and in the end."""
    placing = Placing(part)
    model = host.IAAModel(
        host.Checkpoint(Path(sys.argv[1]) / "tiny"),
        dtype,
        CUDA,
        comfy.ops.manual_cast,
        kinds=hosted_kinds(precision, dtype, CUDA),
        storage=CPU,
        residency=placing,
    )
    pipeline = host.IAAPipeline(model, host.load_tokenizer(model.checkpoint.folder))
    model.load()
    pipeline.caption([PICTURE], max_new_tokens=2)
    pipeline.ground([PICTURE], ["a", "the other one"], max_new_tokens=12)
    pipeline.text("Hello", max_new_tokens=2)
    used = on_device()
    placing.give_back()
    return {"all": sum(p.model_size() for p in placing.patchers.values()), "used": used, "left": on_device()}


report = {"bf16, all of it": run(None, torch.bfloat16, 2)}
for form, dtype in (
    ("fp16", torch.float16),
    ("fp8", torch.bfloat16),
    ("int8", torch.float16),
    ("int4", torch.bfloat16),
):
    report[form] = run(form if form != "fp16" else None, dtype, 0.5)
print(json.dumps(report))
