"""Writes checkpoints of random weights in the published layout, in every shape and packing that the runtime loads.

Values depend on the seed and on a tensor's name alone, so one checkpoint can be written in several packings and must
give one result. In safetensors, tensors are made one at a time: a checkpoint may be larger than memory.
"""

from __future__ import annotations

import json
import math
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from iaa_runtime.checkpoint.writer import LazyTensor, write_file

REFERENCE = Path(__file__).parent / "reference" / "checkpoint"
SHARDS_PREFIX = "model.vision_tower.vision_tower."
"""What the published class puts before the tower's own names."""

Packing = Literal["shards", "shards without index", "single", "bin", "bin shards"]
TowerPlace = Literal["folder", "sibling", "shards", "none"]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Geometry:
    """Sizes of a checkpoint; the defaults are tiny, uneven and have grouped-query attention."""

    hidden_size: int = 32
    intermediate_size: int = 56
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int | None = None
    vocab_size: int = 384
    context: int = 512
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    insert_layers: tuple[int, ...] = (0, 2, 3)
    projector: str = "mlp2x_gelu"
    vision_size: int = 24
    vision_mlp: int = 40
    vision_layers: int = 3
    vision_heads: int = 3
    vision_act: str = "quick_gelu"
    image_size: int = 28
    patch_size: int = 14
    select_layer: int = -2
    select_feature: str = "patch"

    def config(self, tower: str = "clip") -> dict[str, Any]:
        """The content of ``config.json``; ``tower`` is its ``mm_vision_tower``."""
        config = {
            "model_type": "IAA",
            "architectures": ["IAALlamaForCausalLM"],
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": None,
            "hidden_act": "silu",
            "attention_bias": False,
            "tie_word_embeddings": False,
            "mm_vision_tower": tower,
            "mm_hidden_size": self.vision_size,
            "mm_projector_type": self.projector,
            "mm_vision_select_layer": self.select_layer,
            "mm_vision_select_feature": self.select_feature,
            "image_aspect_ratio": "pad",
            "iaa_insert_layers": list(self.insert_layers),
        }
        return config | ({"head_dim": self.head_dim} if self.head_dim else {})

    def vision_config(self) -> dict[str, Any]:
        """The content of the tower's ``config.json``."""
        return {
            "model_type": "clip_vision_model",
            "hidden_size": self.vision_size,
            "intermediate_size": self.vision_mlp,
            "num_hidden_layers": self.vision_layers,
            "num_attention_heads": self.vision_heads,
            "hidden_act": self.vision_act,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "num_channels": 3,
            "layer_norm_eps": 1e-5,
        }

    def language_shapes(self) -> Shapes:
        """Published name -> shape of everything but the tower."""
        shapes: Shapes = {}
        for index in range(self.layers):
            shapes |= self._block(f"model.layers.{index}")
        shapes |= self._head("model.embed_tokens", "model.norm", "lm_head")
        for layers, suffix, projector in (
            ("model.condition_layers", "", "model.mm_projector"),
            ("model.condition_layers_grounding", "_grounding", "model.mm_projector_G"),
        ):
            for index in range(len(self.insert_layers)):
                shapes |= self._block(f"{layers}.{index}")
            shapes |= self._head(
                f"model.embed_tokens_condition{suffix}", f"model.norm_condition{suffix}", f"lm_head_condtion{suffix}"
            )
            shapes |= self._projector(projector)
        return shapes

    def tower_shapes(self) -> Shapes:
        """Hub name -> shape of a ``CLIPVisionModel``."""
        width, mlp = self.vision_size, self.vision_mlp
        shapes: Shapes = {
            "embeddings.class_embedding": (width,),
            "embeddings.patch_embedding.weight": (width, 3, self.patch_size, self.patch_size),
            "embeddings.position_embedding.weight": ((self.image_size // self.patch_size) ** 2 + 1, width),
        }
        for name in ("pre_layrnorm", "post_layernorm"):
            shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
        for index in range(self.vision_layers):
            layer = f"encoder.layers.{index}"
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= {
                    f"{layer}.self_attn.{name}.weight": (width, width),
                    f"{layer}.self_attn.{name}.bias": (width,),
                }
            shapes |= {f"{layer}.mlp.fc1.weight": (mlp, width), f"{layer}.mlp.fc1.bias": (mlp,)}
            shapes |= {f"{layer}.mlp.fc2.weight": (width, mlp), f"{layer}.mlp.fc2.bias": (width,)}
            for name in ("layer_norm1", "layer_norm2"):
                shapes |= {f"{layer}.{name}.weight": (width,), f"{layer}.{name}.bias": (width,)}
        return {f"vision_model.{name}": shape for name, shape in shapes.items()}

    def _block(self, prefix: str) -> Shapes:
        hidden, mlp = self.hidden_size, self.intermediate_size
        head = self.head_dim or hidden // self.heads
        queries, shared = self.heads * head, self.kv_heads * head
        return {
            f"{prefix}.input_layernorm.weight": (hidden,),
            f"{prefix}.self_attn.q_proj.weight": (queries, hidden),
            f"{prefix}.self_attn.k_proj.weight": (shared, hidden),
            f"{prefix}.self_attn.v_proj.weight": (shared, hidden),
            f"{prefix}.self_attn.o_proj.weight": (hidden, queries),
            f"{prefix}.post_attention_layernorm.weight": (hidden,),
            f"{prefix}.mlp.gate_proj.weight": (mlp, hidden),
            f"{prefix}.mlp.up_proj.weight": (mlp, hidden),
            f"{prefix}.mlp.down_proj.weight": (hidden, mlp),
        }

    def _head(self, embedding: str, norm: str, head: str) -> Shapes:
        table = (self.vocab_size, self.hidden_size)
        return {f"{embedding}.weight": table, f"{norm}.weight": (self.hidden_size,), f"{head}.weight": table}

    def _projector(self, prefix: str) -> Shapes:
        into, out = self.vision_size, self.hidden_size
        if self.projector == "linear":
            return {f"{prefix}.weight": (out, into), f"{prefix}.bias": (out,)}
        return {
            f"{prefix}.0.weight": (out, into),
            f"{prefix}.0.bias": (out,),
            f"{prefix}.2.weight": (out, out),
            f"{prefix}.2.bias": (out,),
        }


CLIP_TEXT_SHAPES: Shapes = {
    "logit_scale": (),
    "text_projection.weight": (16, 20),
    "visual_projection.weight": (16, 24),
    "text_model.embeddings.token_embedding.weight": (50, 20),
    "text_model.embeddings.position_embedding.weight": (7, 20),
    "text_model.final_layer_norm.weight": (20,),
}
"""A part of what else a whole CLIP holds."""


def random_tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """The float32 values of a tensor: of a size that keeps activations near 1 through any number of layers."""
    random = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ (seed * 0x9E3779B1 % 2**32))
    values = torch.randn(shape, generator=random)
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.2 * values
    if len(shape) < 2 or "embed" in name:
        return 0.4 * values
    return values / math.sqrt(math.prod(shape[1:]))


def make_checkpoint(
    folder: Path,
    geometry: Geometry = Geometry(),
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    packing: Packing = "shards",
    tower: TowerPlace = "folder",
    whole_clip: bool = False,
) -> Path:
    """Writes a checkpoint with config, tokenizer, weights and vision tower into ``folder``; returns ``folder``.

    Args:
        folder: is made; a sibling tower goes to ``clip`` beside it.
        geometry: all sizes.
        seed: of the weights.
        dtype: as which weights are stored.
        packing: in which files the language model's weights are.
        tower: where the vision tower is. In ``"shards"``, a folder beside the config still gives its geometry.
        whole_clip: the tower's folder holds a CLIP with its text model, as the hub's do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(geometry.config("clip" if tower != "none" else "missing/clip")))
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(REFERENCE / file, folder / file)
    shapes = geometry.language_shapes()
    if tower == "shards":
        shapes |= {SHARDS_PREFIX + name: shape for name, shape in geometry.tower_shapes().items()}
    write_weights(folder, shapes, packing, dtype, seed)
    if tower != "none":
        clip = folder.parent / "clip" if tower == "sibling" else folder / "clip"
        clip.mkdir(exist_ok=True)
        config = geometry.vision_config()
        config = {"model_type": "clip", "vision_config": config, "text_config": {}} if whole_clip else config
        (clip / "config.json").write_text(json.dumps(config))
        if tower != "shards":
            shapes = geometry.tower_shapes() | (CLIP_TEXT_SHAPES if whole_clip else {})
            write_weights(clip, shapes, "single", dtype, seed)
    return folder


def write_weights(folder: Path, shapes: Shapes, packing: Packing, dtype: torch.dtype, seed: int) -> None:
    """Writes tensors of these shapes into ``folder``."""

    def values(name: str, shape: tuple[int, ...]) -> Tensor:
        return random_tensor(name.removeprefix(SHARDS_PREFIX), shape, seed)  # the tower's are the same wherever it is

    stem, suffix = ("pytorch_model", ".bin") if packing.startswith("bin") else ("model", ".safetensors")
    parts = [shapes]
    if "shards" in packing:
        names = list(shapes)
        third = -(-len(names) // 3)
        parts = [{n: shapes[n] for n in names[start : start + third]} for start in range(0, len(names), third)]
    index: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        name = f"{stem}{suffix}" if len(parts) == 1 else f"{stem}-{number:05}-of-{len(parts):05}{suffix}"
        index |= dict.fromkeys(part, name)
        if suffix == ".bin":
            torch.save({n: values(n, shape).to(dtype) for n, shape in part.items()}, folder / name)
        else:
            lazy = {n: LazyTensor(shape, dtype, lambda n=n, s=shape: [values(n, s)]) for n, shape in part.items()}
            write_file(folder / name, lazy)
    if "shards" in packing and "without" not in packing:
        (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
