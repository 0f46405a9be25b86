"""A task's tower and projector as llama.cpp's ``clip`` (a file that it calls mmproj)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor

from ...checkpoint import names
from ...checkpoint.checkpoint import Checkpoint
from ...config import Task
from ...errors import CheckpointError
from ...model.banks import bank_shapes
from ...model.vision import selected_depth
from .class_token import CLASS_TOKEN_FIRST, border_patch, positions_of_class_token_last
from .file import GgufTensor, import_gguf, matrix_type
from .language import file_type, stored

_POSITIONS = "tower.embeddings.position_embedding.weight"
_CLASS_TOKEN = "tower.embeddings.class_embedding"
_PATCHES = "tower.embeddings.patch_embedding.weight"


def check(source: Checkpoint) -> None:
    """Raises :class:`CheckpointError` for what llama.cpp's LLaVA graph does not do."""
    config = source.config
    if config.mm_vision_select_feature == "cls_patch":
        raise CheckpointError(f"{source.folder} keeps the tower's class token, which llama.cpp leaves out.")
    if config.mm_projector_type != "mlp2x_gelu":
        raise CheckpointError(
            f"The projector of {source.folder} is {config.mm_projector_type!r}; llama.cpp has mlp2x_gelu."
        )
    if source.require_vision().hidden_act != "quick_gelu":
        raise CheckpointError(f"The tower of {source.folder} is none of CLIP's: it has no quick_gelu.")


def describe(writer: Any, source: Checkpoint, kind: str, arrangement: str) -> None:
    """Adds the settings of a tower and its projector."""
    config, vision = source.config, source.require_vision()
    depth = selected_depth(config, vision)
    writer.add_file_type(file_type(kind))
    writer.add_version(arrangement)
    writer.add_clip_has_vision_encoder(True)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_use_gelu(False)  # but quick GELU
    writer.add_vision_image_size(vision.image_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_projection_dim(config.hidden_size)
    writer.add_vision_head_count(vision.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(vision.layer_norm_eps)
    writer.add_vision_image_mean(list(vision.image_mean))
    writer.add_vision_image_std(list(vision.image_std))
    writer.add_vision_block_count(depth)
    writer.add_array("clip.vision.feature_layer", [depth])  # else it leaves out the last layer of those there are


def tensors(source: Checkpoint, task: Task, kind: str, arrangement: str) -> Iterator[GgufTensor]:
    """The tensors of the layers that run, and of the task's projector; embeddings are f32."""
    vision = source.require_vision()
    gguf = import_gguf()
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, selected_depth(source.config, vision))
    for name, shape in bank_shapes("vision", source.config, vision).items():
        stock = names.stock_name("vision", name, [], names.LLAVA)
        title = theirs.get_name(stock, (".weight", ".bias"))
        assert title is not None, stock
        wanted = "f32" if "embedding" in name and "patch" not in name else kind
        flattened = matrix_type(shape, wanted) if len(shape) < 4 else "f16" if kind != "f32" else kind
        yield GgufTensor(title, shape, flattened, partial(_tower_tensor, source, task, name, arrangement))
    bank = task.stack_bank
    for name, shape in bank_shapes(bank, source.config, vision).items():
        if match := re.fullmatch(re.escape(names.PROJECTOR) + r"(\d+)\.(weight|bias)", name):
            title = f"mm.{match[1]}.{match[2]}"
            yield GgufTensor(title, shape, matrix_type(shape, kind), partial(stored, source, bank, name))


def _tower_tensor(source: Checkpoint, task: Task, name: str, arrangement: str) -> Tensor:
    tensor = stored(source, "vision", name)
    if arrangement == CLASS_TOKEN_FIRST or name not in (_POSITIONS, _CLASS_TOKEN):
        return tensor
    if task is Task.G:
        return tensor.roll(-1, 0) if name == _POSITIONS else tensor
    if name == _POSITIONS:
        return positions_of_class_token_last(tensor, stored(source, "vision", _CLASS_TOKEN))
    return border_patch(stored(source, "vision", _PATCHES), source.require_vision())
