"""The small files of an exported checkpoint: configs, processor, tokenizer and chat template. Pure dicts."""

from __future__ import annotations

from typing import Any

from ..config import GenerationConfig, IAAConfig, Task, VisionConfig
from ..text.conversation import BEGIN_OF_TEXT, DEFAULT_SYSTEM, END_HEADER, EOT, IMAGE_TOKEN, START_HEADER


def llama_config(config: IAAConfig, blocks: int, dtype: str, bos: int, eos: int) -> dict[str, Any]:
    """``config.json`` of a Llama with ``blocks`` layers.

    ``rope_theta`` stands beside ``rope_parameters``: transformers 4 reads only the one and 5 prefers the other, and
    either alone is read by somebody as base 10000, silently.
    """
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": blocks,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
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
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_hidden_layers": vision.num_hidden_layers,
            "num_attention_heads": vision.num_attention_heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "layer_norm_eps": vision.layer_norm_eps,
            "hidden_act": vision.hidden_act,
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
        "padding_side": "left",  # answers are written behind prompts, so what fills up shorter ones stands before them
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


def chat_template(task: Task) -> str:
    """The Llama 3 layout with IAA's system prompt by default, the image before the text of its message.

    A system message without words leaves the system prompt out.
    """
    image = (
        f"{{% for part in m['content'] if part['type'] == 'image' %}}{IMAGE_TOKEN + chr(10)}{{% endfor %}}"
        if task.sees
        else ""
    )
    header = f"{START_HEADER}{{role}}{END_HEADER}\n\n"
    return (
        BEGIN_OF_TEXT
        + "{% if messages[0]['role'] != 'system' %}"
        + header.replace("{role}", "system")
        + DEFAULT_SYSTEM
        + EOT
        + "{% endif %}{% for m in messages %}{% set words %}{% if m['content'] is string %}{{ m['content'] | trim }}"
        + "{% else %}"
        + image
        + "{% for part in m['content'] if part['type'] == 'text' %}{{ part['text'] | trim }}{% endfor %}{% endif %}"
        + "{% endset %}{% if words or m['role'] != 'system' %}"
        + header.replace("{role}", "{{ m['role'] }}")
        + "{{ words }}"
        + EOT
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}"
        + header.replace("{role}", "assistant")
        + "{% endif %}"
    )
