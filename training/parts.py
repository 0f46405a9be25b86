"""The demo model's geometry, its banks before training, and how they are written in the published layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

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
    """A bank with fresh weights; what a block adds to the stream starts at zero, so a new adaptor changes nothing."""
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


_HEAD_NAMES = {
    "text": ("", "lm_head"),
    "mm": ("_condition", "lm_head_condtion"),
    "g": ("_condition_grounding", "lm_head_condtion_grounding"),
}
_LAYERS = {"base": "layers", "mm": "condition_layers", "g": "condition_layers_grounding"}
_PROJECTORS = {"mm": "mm_projector", "g": "mm_projector_G"}


def published_name(bank: str, key: str) -> str:
    """The published (and in places misspelt) name of a bank's tensor."""
    first, _, rest = key.partition(".")
    if first == "layers":
        return f"model.{_LAYERS[bank]}.{rest}"
    if first == "projector":
        return f"model.{_PROJECTORS[bank]}.{rest}"
    suffix, head = _HEAD_NAMES[bank]
    return f"{head}.{rest}" if first == "lm_head" else f"model.{first}{suffix}.{rest}"


def _config_json(config: IAAConfig, tokens: Mapping[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["IAALlamaForCausalLM"],
        "model_type": "IAA",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": tokens["<|begin_of_text|>"],
        "eos_token_id": tokens["<|end_of_text|>"],
        "torch_dtype": "bfloat16",
        "iaa_insert_layers": list(config.iaa_insert_layers),
        "mm_vision_tower": config.mm_vision_tower,
        "mm_hidden_size": config.mm_hidden_size,
        "mm_vision_select_layer": config.mm_vision_select_layer,
        "mm_vision_select_feature": config.mm_vision_select_feature,
        "mm_projector_type": config.mm_projector_type,
        "image_aspect_ratio": "pad",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
    }


def _clip_json() -> tuple[dict[str, Any], dict[str, Any]]:
    size, mean, std = VISION.image_size, list(VISION.image_mean), list(VISION.image_std)
    tower = {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_act": VISION.hidden_act,
        "hidden_size": VISION.hidden_size,
        "intermediate_size": VISION.intermediate_size,
        "num_hidden_layers": VISION.num_hidden_layers,
        "num_attention_heads": VISION.num_attention_heads,
        "num_channels": 3,
        "image_size": size,
        "patch_size": VISION.patch_size,
        "layer_norm_eps": VISION.layer_norm_eps,
        "attention_dropout": 0.0,
        "projection_dim": VISION.hidden_size,
        "torch_dtype": "bfloat16",
    }
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
    }
    return tower, preprocessor


def _tower_tensors(vision: nn.Module) -> dict[str, Tensor]:
    """The trained layers, and the last one, which IAA never reads, as the identity it would be before training."""
    tensors = {f"vision_model.{key.removeprefix('tower.')}": value for key, value in vision.state_dict().items()}
    first, last = "encoder.layers.0.", f"encoder.layers.{VISION.num_hidden_layers - 1}."
    for key in [k for k in tensors if first in k]:
        fill = torch.ones_like if "layer_norm" in key and key.endswith("weight") else torch.zeros_like
        tensors[key.replace(first, last)] = fill(tensors[key])
    for kind, fill in (("weight", torch.ones), ("bias", torch.zeros)):
        tensors[f"vision_model.post_layernorm.{kind}"] = fill(VISION.hidden_size)
    return tensors


def export(folder: Path, config: IAAConfig, banks: Mapping[str, nn.Module], tokens: Mapping[str, int]) -> None:
    """Writes config, language weights and tower as bfloat16 safetensors; the tokenizer is written by its own module."""
    language = {
        published_name(bank, key): value
        for bank in ("base", "text", "mm", "g")
        for key, value in banks[bank].state_dict().items()
    }
    tower_config, preprocessor = _clip_json()
    (folder / "clip").mkdir(parents=True, exist_ok=True)
    for file, tensors in (("model.safetensors", language), ("clip/model.safetensors", _tower_tensors(banks["vision"]))):
        halved = {name: tensor.detach().to("cpu", torch.bfloat16).contiguous() for name, tensor in tensors.items()}
        save_file(halved, folder / file, metadata={"format": "pt"})
    for file, content in (
        ("config.json", _config_json(config, tokens)),
        ("clip/config.json", tower_config),
        ("clip/preprocessor_config.json", preprocessor),
    ):
        (folder / file).write_text(json.dumps(content, indent=2) + "\n")
