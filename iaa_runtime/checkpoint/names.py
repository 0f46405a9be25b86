"""What other programs call our tensors: the published checkpoint, CLIP's tower, stock Llama and LLaVA.

The only place that knows. Our own names are those inside a bank, such as ``layers.3.mlp.up_proj.weight`` in ``mm``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ..config import BankName, IAAConfig, Task

EMBEDDING, BLOCKS, NORM, HEAD = "embed_tokens.", "layers.", "norm.", "lm_head."
PROJECTOR, TOWER = "projector.", "tower."
"""What our own names start with, by the part of a bank."""

EMBEDDING_WEIGHT = f"{EMBEDDING}weight"
"""Our name of the token embedding."""

PUBLISHED: dict[BankName, dict[str, str]] = {
    "base": {BLOCKS: "model.layers."},
    "text": {EMBEDDING: "model.embed_tokens.", NORM: "model.norm.", HEAD: "lm_head."},
    "mm": {
        BLOCKS: "model.condition_layers.",
        EMBEDDING: "model.embed_tokens_condition.",
        NORM: "model.norm_condition.",
        HEAD: "lm_head_condtion.",  # sic
        PROJECTOR: "model.mm_projector.",
    },
    "g": {
        BLOCKS: "model.condition_layers_grounding.",
        EMBEDDING: "model.embed_tokens_condition_grounding.",
        NORM: "model.norm_condition_grounding.",
        HEAD: "lm_head_condtion_grounding.",  # sic
        PROJECTOR: "model.mm_projector_G.",
    },
}
"""Our prefixes and the published ones. The tower's published prefix varies: see :func:`find_tower_prefix`."""

CLIP_PREFIX = "vision_model."
"""What stands before the tower's names in a ``CLIPVisionModel`` of its own."""

TOWER_MARK = "embeddings.class_embedding"
"""In every tower; what stands before it is the prefix of the tower's names."""

TOWER_END = "tower.post_layernorm."
"""The norm behind a tower's last layer."""

LLAMA, LLAVA = "", "language_model."
"""What stands before a stock Llama's names when it is alone, and inside a LLaVA."""

QUANTIZATION = ".comfy_quant"
"""What ends the names of the notes by which ComfyUI knows a quantized layer."""

OTHER_QUANTIZATIONS = (QUANTIZATION, ".weight_scale", ".scale_weight", ".absmax", ".qweight", ".qzeros", ".SCB")
"""How names end of what stands beside or in place of a weight: of ComfyUI, bitsandbytes, GPTQ, AWQ."""
_IGNORED_SUFFIXES = ("rotary_emb.inv_freq", "embeddings.position_ids", QUANTIZATION)
"""Buffers that older library versions saved and that are computed here, and notes for others."""

_BLOCK = re.compile(r"layers\.(\d+)\.(.+)")


# The published checkpoint and CLIP ----------------------------------------------------------------------------------


def published_name(bank: BankName, name: str, tower_prefix: str = CLIP_PREFIX) -> str:
    """The published name of one of our tensors.

    Raises:
        KeyError: the bank has no such part.
    """
    for ours, theirs in _prefixes(bank, tower_prefix).items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)


def names_in(bank: BankName, stored: Iterable[str], tower_prefix: str = CLIP_PREFIX) -> dict[str, str]:
    """Our name -> published name, for those of the ``stored`` tensors that belong to a bank."""
    stored = [name for name in stored if not name.endswith(_IGNORED_SUFFIXES)]
    return {
        ours + name.removeprefix(theirs): name
        for ours, theirs in _prefixes(bank, tower_prefix).items()
        for name in stored
        if name.startswith(theirs)
    }


def unknown_names(stored: Iterable[str]) -> list[str]:
    """Those of the ``stored`` tensors that no IAA checkpoint has."""
    stored = list(stored)
    tower = find_tower_prefix(stored)
    known = [prefix for prefixes in PUBLISHED.values() for prefix in prefixes.values()]
    known += [] if tower is None else [tower]
    return [name for name in stored if not name.startswith(tuple(known)) and not name.endswith(_IGNORED_SUFFIXES)]


def find_tower_prefix(stored: Iterable[str]) -> str | None:
    """What stands before the vision tower's names among the ``stored`` tensors; None where there is no tower."""
    for name in stored:
        if name.endswith(TOWER_MARK) and "text_model" not in name:
            return name.removesuffix(TOWER_MARK)
    return None


def tower_layer(number: int) -> str:
    """What our names of a tower layer's tensors start with."""
    return f"tower.encoder.layers.{number}."


def count_by_part(stored: Iterable[str]) -> Counter[str]:
    """How many tensors each part of a checkpoint has, layers counted together, for messages."""
    return Counter(re.split(r"\.\d+\.", name)[0].removesuffix(".weight").removesuffix(".bias") for name in stored)


def _prefixes(bank: BankName, tower_prefix: str) -> dict[str, str]:
    return {TOWER: tower_prefix} if bank == "vision" else PUBLISHED[bank]


# Stock Llama and LLaVA ----------------------------------------------------------------------------------------------


def stock_name(bank: BankName, name: str, positions: list[int], prefix: str) -> str:
    """The name of one of our tensors on the hub, in a stock Llama or LLaVA checkpoint.

    Engines read the hub's names (``vision_tower.vision_model.*``), not those that newer transformers keep in memory.

    Args:
        bank: the bank it is in.
        name: our name of it.
        positions: where the bank's blocks stand in the stack.
        prefix: ``LLAMA`` or ``LLAVA``.
    """
    if bank == "vision":
        return f"vision_tower.{CLIP_PREFIX}{name.removeprefix(TOWER)}"
    if match := _BLOCK.fullmatch(name):
        return f"{prefix}model.layers.{positions[int(match[1])]}.{match[2]}"
    if name.startswith(HEAD):
        return prefix + name
    if name.startswith(PROJECTOR):
        # mlp2x_gelu is 0, GELU, 2; a lone linear layer becomes the first, and the second is the identity.
        layer = name.removeprefix(PROJECTOR).replace("0.", "linear_1.").replace("2.", "linear_2.")
        return "multi_modal_projector." + (layer if layer.startswith("linear") else f"linear_1.{layer}")
    return f"{prefix}model.{name}"


def block_positions(config: IAAConfig, task: Task) -> tuple[list[int], list[int]]:
    """Where the base layers and the adaptor layers stand in the task's flat stack."""
    adaptor_behind = config.iaa_insert_layers if task.sees else ()
    is_adaptor: list[bool] = []
    for layer in range(config.num_hidden_layers):
        is_adaptor += [False, True] if layer in adaptor_behind else [False]
    base = [position for position, adaptor in enumerate(is_adaptor) if not adaptor]
    return base, [position for position, adaptor in enumerate(is_adaptor) if adaptor]
