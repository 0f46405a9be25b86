"""Formats in real servers: llama.cpp's and vLLM's own ways to hold answers to one, with what we ask and check."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from llama_server import LLAMA_CPPS
from llama_server import serving as serving_llama_cpp
from vllm_server import needs_vllm
from vllm_server import serving as serving_vllm

from iaa_runtime import RemotePipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.errors import InputError
from iaa_runtime.export import export
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.shapes.scenes import draw_scene, make_scene

jsonschema = pytest.importorskip("jsonschema")
pytest.importorskip("llguidance")
pytestmark = pytest.mark.slow

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "color": {"enum": ["red", "blue", "green"]},
        "count": {"type": "integer"},  # the server of llama-cpp-python 0.3.36 leaves its bounds aside
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 2},
    },
    "required": ["color", "count", "tags"],
}


def have_the_schema(remote: RemotePipeline) -> None:
    pictures = [draw_scene(make_scene(seed)) for seed in range(3)]
    for text in remote.caption(pictures, "Describe this image.", format=SCHEMA, max_new_tokens=200):
        jsonschema.validate(json.loads(text), SCHEMA)
    with pytest.raises(InputError, match="cut off"):
        remote.caption(pictures[0], "Describe this image.", format=SCHEMA, max_new_tokens=3)


@pytest.mark.parametrize("server", LLAMA_CPPS)
def test_llama_cpp(tmp_path: Path, server: str) -> None:
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "MM", tmp_path / "out", "f16")
    with serving_llama_cpp(folder, "mmproj", server) as address:
        have_the_schema(RemotePipeline.connect([address], concurrency=1))


@needs_vllm
def test_vllm(tmp_path: Path) -> None:
    folder = export(Checkpoint(DEMO_CHECKPOINT), "MM", tmp_path / "iaa-mm")
    with serving_vllm(folder, tmp_path / "vllm.log") as address:
        remote = RemotePipeline.connect([address])
        have_the_schema(remote)
        picture = draw_scene(make_scene(1))
        assert re.fullmatch("Count: [0-9]", remote.caption(picture, "How many?", format="Count: [0-9]")[0])
