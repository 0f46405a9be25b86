"""What an adaptor belongs to: a task of a checkpoint, known again by a fingerprint; and the matrices it updates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

import torch
from torch import Tensor

from ..checkpoint import names
from ..checkpoint.checkpoint import Checkpoint
from ..config import BankName, IAAConfig, Task
from ..errors import CheckpointError, InputError
from ..model.banks import bank_shapes

MATRICES = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""Of a block: what an adaptor updates, by our names, which are the published ones too."""

_GEOMETRY = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "rms_norm_eps",
    "rope_theta",
    "iaa_insert_layers",
    "mm_hidden_size",
    "mm_projector_type",
)
_EMBEDDED = 16
"""Tokens whose embedding is looked at."""


def adapted_bank(task: Task) -> BankName:
    """The bank whose blocks an adaptor of ``task`` updates; raises :class:`InputError` for Text, which has none."""
    if not task.sees:
        raise InputError("The Text task is the frozen language model: it has no adaptors. Use MM or G.")
    return task.stack_bank


@cache
def adapted_matrices(config: IAAConfig, task: Task) -> dict[str, tuple[int, int]]:
    """The matrices that an adaptor of ``task`` may update: our name (``layers.0.mlp.up_proj``) -> (outputs, inputs)."""
    shapes = bank_shapes(adapted_bank(task), config, None)
    found: dict[str, tuple[int, int]] = {}
    for block in range(len(config.iaa_insert_layers)):
        for matrix in MATRICES:
            name = f"{names.BLOCKS}{block}.{matrix}"
            outputs, inputs = shapes[f"{name}.weight"]
            found[name] = outputs, inputs
    return found


def base_fingerprint(checkpoint: Checkpoint, task: Task) -> str:
    """A short name for the model that adaptors of ``task`` are taught on.

    Hashes the language model's geometry, the values of all norms of the base and of the task's bank, and some rows of
    the task's embedding: what training moves, and what ``iaa convert`` keeps as it is. So it is the same in any dtype
    and precision, and another once an adaptor was merged in.

    Raises:
        CheckpointError: the checkpoint lacks the task's bank.
        InputError: the task is Text.
    """
    bank = adapted_bank(task)
    config = {name: getattr(checkpoint.config, name) for name in _GEOMETRY}
    about = {"task": task.value, "merged": checkpoint.merged_for(task), **config}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for one in ("base", bank):
        shapes = bank_shapes(one, checkpoint.config, None)
        norms = sorted(name for name in shapes if "norm" in name)
        _require(checkpoint, one, norms)
        values = dict(checkpoint.load(one, norms, torch.float32, "cpu"))
        for name in norms:
            digest.update(values[name].contiguous().numpy().tobytes())
    _require(checkpoint, bank, [names.EMBEDDING_WEIGHT])
    for row in islice(_rows(checkpoint, bank, names.EMBEDDING_WEIGHT), _EMBEDDED):
        digest.update(row.float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _require(checkpoint: Checkpoint, bank: BankName, wanted: Sequence[str]) -> None:
    missing = set(wanted) - set(checkpoint.names(bank))
    if missing:
        raise CheckpointError(
            f"{checkpoint.folder} lacks {len(missing)} of {len(wanted)} tensors of bank {bank!r} that tell which model "
            f"it is, such as {min(missing)}. Use a complete checkpoint, or one that was converted for this task."
        )


def _rows(checkpoint: Checkpoint, bank: BankName, name: str) -> Iterator[Tensor]:
    for chunk in checkpoint.chunks(bank, name, "cpu"):
        yield from chunk
