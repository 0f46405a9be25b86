"""Tells models apart without reading them whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from ..checkpoint.checkpoint import Checkpoint
from ..pipeline.local import IAAPipeline
from ..pipeline.remote import RemotePipeline

_SAMPLE_BYTES = 1 << 16
_SAMPLES = 16


def identify(pipeline: IAAPipeline | RemotePipeline) -> dict[str, str]:
    """What of a job's answers the model decides, for its settings; a server says no more of its own than names."""
    if isinstance(pipeline, RemotePipeline):
        return {"model": f"served: {pipeline.name}", "dtype": "the server's"}
    model = pipeline.model
    dtype = str(model.dtype).removeprefix("torch.")
    return {"model": fingerprint(model.checkpoint), "dtype": dtype, "precision": model.precision or dtype}


def fingerprint(checkpoint: Checkpoint) -> str:
    """A short name for what a checkpoint computes, wherever it lies.

    Made of its config, each weight file's size and bytes at sixteen places, and the tower's geometry and class
    embedding. Another training run changes nearly every weight, so the samples do differ.
    """
    digest = hashlib.sha256(json.dumps(checkpoint.config_raw, sort_keys=True).encode())
    for file in checkpoint.files.files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        for place in range(_SAMPLES):
            digest.update(_sample(file, max(0, size - _SAMPLE_BYTES) * place // (_SAMPLES - 1)))
    if checkpoint.vision is not None:
        digest.update(repr(checkpoint.vision).encode())
        for _, tensor in checkpoint.read("vision", ["tower.embeddings.class_embedding"], torch.float32, "cpu"):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _sample(file: Path, start: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read(_SAMPLE_BYTES)
