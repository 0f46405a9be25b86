"""Short names that tell models apart, made without reading whole checkpoints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from .checkpoint import Checkpoint

_SAMPLE_BYTES = 1 << 16
_SAMPLES = 16


def fingerprint(checkpoint: Checkpoint) -> str:
    """A short name for what a checkpoint computes, wherever it lies.

    Hashes its config, each weight file's size and sixteen samples of its bytes, and the tower's geometry and class
    embedding. Another training run changes nearly every weight, so the samples differ.
    """
    digest = hashlib.sha256(json.dumps(checkpoint.config_raw, sort_keys=True).encode())
    for file in checkpoint.files.files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        for sample in range(_SAMPLES):
            digest.update(_sample(file, max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1)))
    if checkpoint.vision is not None:
        digest.update(repr(checkpoint.vision).encode())
        for _, tensor in checkpoint.load("vision", ["tower.embeddings.class_embedding"], torch.float32, "cpu"):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _sample(file: Path, start: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read(_SAMPLE_BYTES)
