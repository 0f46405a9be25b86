"""Writes the trained banks as a checkpoint in the published layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from parts import VISION
from tokenizer import END_OF_TEXT
from torch import Tensor, nn

from iaa_runtime.checkpoint import names
from iaa_runtime.checkpoint.writer import LazyTensor, write_file, write_json
from iaa_runtime.config import BANK_NAMES, BankName, IAAConfig
from iaa_runtime.text.conversation import BEGIN_OF_TEXT

SCORE_THRESHOLD = 0.1
"""Of G: on 200 scenes it kept every box of what is there, and dropped all but a hundredth of the others."""


def export(folder: Path, config: IAAConfig, banks: Mapping[str, nn.Module], tokens: Mapping[str, int]) -> None:
    """Writes configs, language weights and tower, in bfloat16; the tokenizer is written by its own module."""
    (folder / "clip").mkdir(parents=True, exist_ok=True)
    language: dict[str, LazyTensor] = {}
    for bank in BANK_NAMES:
        if bank != "vision":
            language |= _published(bank, banks[bank].state_dict())
    write_file(folder / "model.safetensors", language)
    write_file(folder / "clip" / "model.safetensors", _published("vision", _whole_tower(banks["vision"])))
    tower, preprocessor = _clip_json()
    write_json(folder / "config.json", _config_json(config, tokens))
    write_json(folder / "clip" / "config.json", tower)
    write_json(folder / "clip" / "preprocessor_config.json", preprocessor)


def _published(bank: BankName, tensors: Mapping[str, Tensor]) -> dict[str, LazyTensor]:
    return {names.published_name(bank, key): LazyTensor.of(value, torch.bfloat16) for key, value in tensors.items()}


def _whole_tower(vision: nn.Module) -> dict[str, Tensor]:
    """The trained layers, and the last one, which IAA never runs, as before training: it passes on what it is given."""
    tensors = dict(vision.state_dict())
    first, last = names.tower_layer(0), names.tower_layer(VISION.num_hidden_layers - 1)
    for key in [key for key in tensors if key.startswith(first)]:
        fill = torch.ones_like if "layer_norm" in key and key.endswith("weight") else torch.zeros_like
        tensors[key.replace(first, last)] = fill(tensors[key])
    tensors[f"{names.TOWER_END}weight"] = torch.ones(VISION.hidden_size)
    tensors[f"{names.TOWER_END}bias"] = torch.zeros(VISION.hidden_size)
    return tensors


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
        "bos_token_id": tokens[BEGIN_OF_TEXT],
        "eos_token_id": tokens[END_OF_TEXT],
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
        "score_threshold": SCORE_THRESHOLD,
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
