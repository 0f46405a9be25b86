"""The demo model's geometry, and its banks and stacks before training."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from iaa_runtime.config import BankName, IAAConfig, Task, VisionConfig
from iaa_runtime.model.banks import AdaptorBank, BaseBank, HeadBank, build_bank
from iaa_runtime.model.layers import Block
from iaa_runtime.model.stack import Stack, interleave

VISION = VisionConfig(
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=7,
    num_attention_heads=4,
    image_size=120,
    patch_size=15,
)
CONTEXT = 2048


def language_config(vocab_size: int) -> IAAConfig:
    """Four base layers with an adaptor behind each, heads of 32."""
    return IAAConfig(
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=vocab_size,
        mm_hidden_size=VISION.hidden_size,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        max_position_embeddings=CONTEXT,
        mm_projector_type="mlp2x_gelu",
        mm_vision_tower="clip",
        iaa_insert_layers=(0, 1, 2, 3),
    )


def make_bank(name: BankName, config: IAAConfig, device: torch.device) -> nn.Module:
    """A bank with fresh weights; a block's outputs start at zero, so a new adaptor changes nothing."""
    bank = build_bank(name, config, VISION, device=device)
    for key, parameter in bank.named_parameters():
        if any(part in key for part in ("o_proj", "down_proj", "out_proj", "fc2")) or key.endswith("bias"):
            nn.init.zeros_(parameter)
        elif "embed_tokens" in key or "class_embedding" in key or "lm_head" in key:
            nn.init.normal_(parameter, std=0.02)
        elif "position_embedding" in key:
            nn.init.normal_(parameter, std=0.3)
        elif "norm" in key:
            nn.init.ones_(parameter)
        elif parameter.ndim >= 2:
            nn.init.normal_(parameter, std=0.6 * parameter[0].numel() ** -0.5)
    return bank


def make_stack(task: Task, config: IAAConfig, base: BaseBank, head: HeadBank, device: torch.device) -> Stack:
    """A task's stack over banks in training."""
    blocks = cast("list[Block]", list(base.layers))
    if isinstance(head, AdaptorBank):
        blocks = interleave(blocks, cast("list[Block]", list(head.layers)), config.iaa_insert_layers)
    return Stack(config, head.embed_tokens, blocks, head.norm, head.lm_head, torch.float32, device)
