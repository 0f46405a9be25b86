"""What a config may say, and what is said about one that cannot be run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.config import IAAConfig, VisionConfig
from iaa_runtime.errors import ConfigError

SMALLEST = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 32,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "mm_hidden_size": 48,
}


def test_the_published_config_is_read(reference: Path) -> None:
    config = IAAConfig.from_dict(json.loads((reference / "published_config.json").read_text()))
    assert (config.hidden_size, config.num_hidden_layers, config.num_blocks) == (4096, 32, 46)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (32, 8, 128)
    assert (config.vocab_size, config.rope_theta, config.max_position_embeddings) == (128256, 500000.0, 8192)
    assert (config.mm_projector_type, config.mm_hidden_size, config.mm_vision_select_layer) == ("mlp2x_gelu", 1024, -2)
    assert config.iaa_insert_layers == (0, 1, 5, 6, 10, 11, 15, 16, 20, 21, 25, 26, 30, 31)


def test_what_is_left_out_has_llamas_defaults() -> None:
    config = IAAConfig.from_dict(SMALLEST)
    assert (config.num_key_value_heads, config.head_dim) == (4, 16)
    assert (config.rope_theta, config.rms_norm_eps, config.max_position_embeddings) == (10000.0, 1e-6, 2048)


@pytest.mark.parametrize(
    "changes", [{"rope_theta": 7.0}, {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}], ids=str
)
def test_the_rope_base_is_read_from_either_place(changes: dict[str, Any]) -> None:
    assert IAAConfig.from_dict(SMALLEST | changes).rope_theta == 7.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "llava"}, "'llava'"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"hidden_size": "64"}, "'hidden_size' to '64'"),
        ({"vocab_size": 300.5}, "'vocab_size' to 300.5"),
        ({"vocab_size": True}, "'vocab_size' to True"),
        ({"num_attention_heads": 0}, "'num_attention_heads' to 0"),
        ({"num_key_value_heads": -2}, "'num_key_value_heads' to -2"),
        ({"rope_theta": 0}, "'rope_theta' to 0"),
        ({"rope_theta": 10**400}, "'rope_theta' to 1000"),
        ({"vocab_size": 10**400}, "'vocab_size' to 1000"),
        ({"num_hidden_layers": 10**9}, "a whole number from 1 to 16777216"),
        ({"max_position_embeddings": 1 << 40}, "'max_position_embeddings' to"),
        ({"rms_norm_eps": float("inf")}, "'rms_norm_eps' to inf"),
        ({"rms_norm_eps": float("nan")}, "'rms_norm_eps' to nan"),
        ({"mm_vision_tower": 5}, "'mm_vision_tower' to 5"),
        ({"iaa_insert_layers": [0, "1"]}, "'iaa_insert_layers'"),
        ({"rope_parameters": [1]}, "'rope_parameters' to [1]"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_type"),
        ({"image_aspect_ratio": "anyres"}, "'anyres', but only 'pad'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end"),
        ({"mm_vision_select_feature": "cls"}, "'patch' or 'cls_patch'"),
        ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads 3"),
        ({"num_attention_heads": 5}, "hidden_size 64 is not a multiple of num_attention_heads 5"),
        ({"head_dim": 7}, "even head_dim, not 7"),
        ({"num_hidden_layers": 31}, "lie in 0..30"),
        ({"iaa_insert_layers": [0, 2, 1]}, "rise strictly"),
        ({"iaa_insert_layers": [0, 0]}, "rise strictly"),
        ({"iaa_insert_layers": [-1, 3]}, "lie in 0..31"),
    ],
    ids=str,
)
def test_a_config_that_cannot_be_run_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        IAAConfig.from_dict(SMALLEST | changes, "there/config.json")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["model_type", "hidden_size", "rope_parameters", "hidden_act", "iaa_insert_layers"])
@pytest.mark.parametrize("value", ["x" * 100_000, [1] * 100_000, [[[[[[5]]]]]]], ids=["text", "list", "nested"])
def test_a_long_value_makes_a_short_message(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        IAAConfig.from_dict(SMALLEST | {name: value})
    assert len(str(caught.value)) < 500


def test_a_clip_config_is_read_alone_or_inside_a_whole_clip() -> None:
    own = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14}
    config = VisionConfig.from_dict(own | {"intermediate_size": 4096})
    assert config == VisionConfig() == VisionConfig.from_dict({"vision_config": own | {"intermediate_size": 4096}})
    assert config.num_patches == 576


def test_what_a_clip_config_leaves_out_is_vit_b_32_as_in_the_library() -> None:
    from transformers import CLIPVisionConfig

    ours, theirs = VisionConfig.from_dict({}), CLIPVisionConfig()
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.patch_size, ours.hidden_act) == (theirs.patch_size, theirs.hidden_act)


def test_the_preprocessor_gives_the_colours() -> None:
    config = VisionConfig.from_dict({}, {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 1]})
    assert (config.image_mean, config.image_std) == ((0.5, 0.5, 0.5), (0.25, 0.5, 1.0))


@pytest.mark.parametrize(
    "mean", [[0.5], "half", [0.5, 0.5, "x"], [0, 0, float("nan")], [0, 0, 10**400]], ids=lambda value: str(value)[:20]
)
def test_a_preprocessor_without_three_colours_is_refused(mean: object) -> None:
    with pytest.raises(ConfigError, match="three numbers as 'image_mean'"):
        VisionConfig.from_dict({}, {"image_mean": mean})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_act": "relu"}, "'relu'"),
        ({"num_channels": 1}, "num_channels"),
        ({"hidden_size": 50}, "multiple"),
        ({"num_attention_heads": 0}, "'num_attention_heads' to 0"),
        ({"patch_size": 0}, "'patch_size' to 0"),
        ({"image_size": [224, 224]}, "'image_size' to"),
        ({"image_size": 10**9}, "'image_size' to"),
        ({"image_size": 31}, "image_size 31 is less than patch_size 32"),
        ({"layer_norm_eps": 10**400}, "'layer_norm_eps' to"),
        ({"vision_config": 5}, "'vision_config' to 5"),
    ],
    ids=str,
)
def test_a_tower_that_cannot_be_run_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        VisionConfig.from_dict(changes)
