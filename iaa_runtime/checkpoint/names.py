"""From the banks' tensor names to those of the hub's Llama and LLaVA checkpoints.

Engines read the hub's names (``vision_tower.vision_model.*``), not those that newer transformers keep in memory.
"""

from __future__ import annotations

import re

from ..config import BankName, IAAConfig, Task

LLAMA, LLAVA = "", "language_model."
"""What stands before a Llama's names when it is alone, and inside a LLaVA."""

_BLOCK = re.compile(r"layers\.(\d+)\.(.+)")


def block_positions(config: IAAConfig, task: Task) -> tuple[list[int], list[int]]:
    """Where the base layers and the adaptor layers stand in the task's flat stack."""
    if not task.sees:
        return list(range(config.num_hidden_layers)), []
    base: list[int] = []
    adaptors: list[int] = []
    for layer in range(config.num_hidden_layers):
        base.append(len(base) + len(adaptors))
        if layer in config.iaa_insert_layers:
            adaptors.append(len(base) + len(adaptors))
    return base, adaptors


def hub_name(bank: BankName, name: str, positions: list[int], prefix: str) -> str:
    """The hub's name of one of our tensors.

    Args:
        bank: the bank it is in.
        name: its name there, such as ``layers.3.mlp.up_proj.weight``.
        positions: where the bank's blocks stand in the stack.
        prefix: ``LLAMA`` or ``LLAVA``.
    """
    if bank == "vision":
        return "vision_tower.vision_model." + name.removeprefix("tower.")
    if match := _BLOCK.fullmatch(name):
        return f"{prefix}model.layers.{positions[int(match[1])]}.{match[2]}"
    if name.startswith("lm_head."):
        return prefix + name
    if name.startswith("projector."):
        # mlp2x_gelu is 0, GELU, 2; a lone linear layer becomes the first, and the second is the identity.
        layer = name.removeprefix("projector.").replace("0.", "linear_1.").replace("2.", "linear_2.")
        return "multi_modal_projector." + (layer if layer.startswith("linear") else f"linear_1.{layer}")
    return f"{prefix}model.{name}"
