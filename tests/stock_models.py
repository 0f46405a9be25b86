"""The same computation by the transformers library's own classes: the judge of ours. Knows nothing of iaa_runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

PUBLISHED_INSERT_LAYERS = (0, 1, 5, 6, 10, 11, 15, 16, 20, 21, 25, 26, 30, 31)
ADAPTORS = {
    "MM": ("model.condition_layers", "_condition", "lm_head_condtion", "model.mm_projector"),
    "G": (
        "model.condition_layers_grounding",
        "_condition_grounding",
        "lm_head_condtion_grounding",
        "model.mm_projector_G",
    ),
}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's weight files, by its name there."""
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        weights |= load_file(file)
    for file in sorted(folder.glob("pytorch_model*.bin")):
        weights |= torch.load(file, weights_only=True)
    return weights


def stock_llama(folder: Path, task: str) -> LlamaForCausalLM:
    """A task laid out as the flat Llama that it is, float32."""
    raw, weights = json.loads((folder / "config.json").read_text()), read_weights(folder)
    layers, suffix, head, _ = ADAPTORS.get(task, ("", "", "lm_head", ""))
    behind = raw.get("iaa_insert_layers", PUBLISHED_INSERT_LAYERS) if layers else ()
    order = []
    for base in range(raw["num_hidden_layers"]):
        order.append(f"model.layers.{base}.")
        if base in behind:
            order.append(f"{layers}.{list(behind).index(base)}.")
    state = {
        f"model.layers.{place}.{name.removeprefix(prefix)}": tensor
        for place, prefix in enumerate(order)
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
    state["model.embed_tokens.weight"] = weights[f"model.embed_tokens{suffix}.weight"]
    state["model.norm.weight"] = weights[f"model.norm{suffix}.weight"]
    state["lm_head.weight"] = weights[f"{head}.weight"]
    config = LlamaConfig(
        vocab_size=raw["vocab_size"],
        hidden_size=raw["hidden_size"],
        intermediate_size=raw["intermediate_size"],
        num_hidden_layers=len(order),
        num_attention_heads=raw["num_attention_heads"],
        num_key_value_heads=raw["num_key_value_heads"],
        head_dim=raw.get("head_dim"),
        rms_norm_eps=raw["rms_norm_eps"],
        max_position_embeddings=raw["max_position_embeddings"],
        rope_theta=raw["rope_theta"],  # read by 4.57, and the next line by 5
        rope_parameters={"rope_type": "default", "rope_theta": raw["rope_theta"]},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model.eval()


def stock_features(folder: Path, pixel_values: Tensor, tower: Path | None = None) -> Tensor:
    """The hidden state that the config selects, class token dropped where it says so: (B, N, W), before projection.

    ``tower`` holds the tower's config and, unless they are in the checkpoint's shards, its weights.
    """
    raw, tower = json.loads((folder / "config.json").read_text()), tower or folder / "clip"
    vision = json.loads((tower / "config.json").read_text())
    model = CLIPVisionModel(CLIPVisionConfig(**vision.get("vision_config", vision)))
    wanted = model.state_dict()
    state: dict[str, Tensor] = {}
    for name, tensor in (read_weights(tower) or read_weights(folder)).items():
        _, mark, plain = name.rpartition("vision_model.")
        # transformers 5 dropped the "vision_model." of this class's modules.
        for ours in (mark + plain, plain):
            if mark and ours in wanted:
                state[ours] = tensor.float()
    model.load_state_dict({k: v for k, v in wanted.items() if k.endswith("position_ids")} | state)
    with torch.no_grad():
        states = model.eval()(pixel_values, output_hidden_states=True).hidden_states
    chosen: Tensor = states[raw["mm_vision_select_layer"]]
    return chosen[:, 1:] if raw["mm_vision_select_feature"] == "patch" else chosen


def stock_image_features(folder: Path, pixel_values: Tensor, task: str, tower: Path | None = None) -> Tensor:
    """What stands in the prompt for each image: (B, N, H)."""
    weights, prefix = read_weights(folder), ADAPTORS[task][3]
    features = stock_features(folder, pixel_values, tower)
    if f"{prefix}.weight" in weights:
        return nn.functional.linear(features, weights[f"{prefix}.weight"].float(), weights[f"{prefix}.bias"].float())
    first, second = (
        lambda x, n=n: nn.functional.linear(
            x, weights[f"{prefix}.{n}.weight"].float(), weights[f"{prefix}.{n}.bias"].float()
        )
        for n in (0, 2)
    )
    return second(nn.functional.gelu(first(features)))


def stock_embeddings(model: LlamaForCausalLM, ids: Tensor, features: Tensor | None) -> Tensor:
    """Embeds (B, T) ids with features (B, N, H) in place of each row's -200: (B, T - 1 + N, H)."""
    rows = []
    for row, line in enumerate(ids):
        words = model.get_input_embeddings()(line.clamp_min(0))
        if features is not None:
            at = int((line == -200).nonzero())
            words = torch.cat((words[:at], features[row], words[at + 1 :]))
        rows.append(words)
    return torch.stack(rows)


@torch.no_grad()
def stock_logits(model: LlamaForCausalLM, ids: Tensor, features: Tensor | None = None) -> Tensor:
    """(B, T', V)."""
    logits: Tensor = model(inputs_embeds=stock_embeddings(model, ids, features)).logits
    return logits


@torch.no_grad()
def stock_generate(
    model: LlamaForCausalLM, ids: Tensor, features: Tensor | None = None, **options: Any
) -> list[list[int]]:
    """New tokens of each row, by the library's own generate."""
    embedded = stock_embeddings(model, ids, features)
    mask = torch.ones(embedded.shape[:2], dtype=torch.long)
    out = model.generate(inputs_embeds=embedded, attention_mask=mask, pad_token_id=0, **options)
    rows: list[list[int]] = out.tolist()
    return rows
