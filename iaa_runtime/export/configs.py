"""The JSON files of an exported checkpoint, as dicts: of the model, its processor, tokenizer and generation."""

from __future__ import annotations

from typing import Any

from ..config import GenerationConfig, IAAConfig, Task, VisionConfig
from ..text.conversation import BEGIN_OF_TEXT, EOT, IMAGE_TOKEN

LLAMA_FIELDS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size", "max_position_embeddings", "rms_norm_eps", "rope_theta"),
)
CLIP_FIELDS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("image_size", "patch_size", "layer_norm_eps", "hidden_act"),
)
"""Settings that are ours under the same names."""


def llama_config(config: IAAConfig, blocks: int, dtype: str, bos: int, eos: int) -> dict[str, Any]:
    """``config.json`` of a Llama with ``blocks`` layers.

    ``rope_theta`` stands beside ``rope_parameters``: transformers 4 knows only the former, 5 prefers the latter, and
    with either one alone some version silently takes base 10000.
    """
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **{name: getattr(config, name) for name in LLAMA_FIELDS},
        "num_hidden_layers": blocks,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "torch_dtype": dtype,
    }


def llava_config(
    config: IAAConfig, vision: VisionConfig, text: dict[str, Any], image_token: int, dtype: str
) -> dict[str, Any]:
    """``config.json`` of a LLaVA around the Llama ``text``."""
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": image_token,
        "image_seq_length": vision.num_patches + (config.mm_vision_select_feature == "cls_patch"),
        # A lone linear projector is followed by the identity, so nothing may act between the two.
        "projector_hidden_act": "gelu" if config.mm_projector_type == "mlp2x_gelu" else "linear",
        "multimodal_projector_bias": True,
        "vision_feature_layer": config.mm_vision_select_layer,
        "vision_feature_select_strategy": "full" if config.mm_vision_select_feature == "cls_patch" else "default",
        "tie_word_embeddings": False,
        "text_config": text,
        "torch_dtype": dtype,
        "vision_config": {
            "model_type": "clip_vision_model",
            **{name: getattr(vision, name) for name in CLIP_FIELDS},
            "projection_dim": vision.hidden_size,
        },
    }


def preprocessor_config(vision: VisionConfig) -> dict[str, Any]:
    """``preprocessor_config.json``: padding to a square with the mean colour, as IAA does."""
    return {
        "image_processor_type": "LlavaImageProcessor",
        "processor_class": "LlavaProcessor",
        "do_convert_rgb": True,
        "do_pad": True,
        "do_resize": True,
        "size": {"shortest_edge": vision.image_size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": vision.image_size, "width": vision.image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(vision.image_mean),
        "image_std": list(vision.image_std),
    }


def processor_config(config: IAAConfig, vision: VisionConfig) -> dict[str, Any]:
    """``processor_config.json``: how many tokens an image takes."""
    keep_class_token = config.mm_vision_select_feature == "cls_patch"
    return {
        "processor_class": "LlavaProcessor",
        "patch_size": vision.patch_size,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "full" if keep_class_token else "default",
        "image_token": IMAGE_TOKEN,
    }


def tokenizer_config(config: IAAConfig, template: str) -> dict[str, Any]:
    """``tokenizer_config.json`` for the checkpoint's own ``tokenizer.json``."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN_OF_TEXT,
        "eos_token": EOT,
        "pad_token": EOT,
        "padding_side": "left",  # answers follow their prompts, so padding goes before them
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],  # transformers 4 adds token types, which no Llama takes
        "model_max_length": config.max_position_embeddings,
        "chat_template": template,
    }


def generation_config(task: Task, bos: int, eos: int) -> dict[str, Any]:
    """``generation_config.json``: greedy, ended by ``<|eot_id|>`` alone."""
    return {
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": eos,
        "do_sample": False,
        "max_new_tokens": GenerationConfig.for_task(task).max_new_tokens,
    }
