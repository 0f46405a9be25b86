"""GGUF files, read back by the package that llama.cpp's own tools use. (tests/parity/test_llama_cpp.py asks them.)"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from jinja2 import Environment
from make_checkpoint import Geometry, make_checkpoint

from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.config import BankName, Task
from iaa_runtime.errors import CheckpointError, ConfigError, InputError
from iaa_runtime.export import convert
from iaa_runtime.export.chat_template import chat_template
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.export.gguf.file import GgufTensor, write_gguf
from iaa_runtime.text.conversation import IMAGE_TOKEN

gguf = pytest.importorskip("gguf")

Array = npt.NDArray[Any]
PRECISE = {"f32": 1e-7, "f16": 1e-3, "q8_0": 0.01, "q4_0": 0.12}
"""How far a matrix may be from ours, by its type: norm of the difference over norm."""


@pytest.fixture(scope="module")
def source() -> Checkpoint:
    """The demo's: blocks take turns, four of the base and four of the task."""
    return Checkpoint(DEMO_CHECKPOINT)


def read(file: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """A file's settings, and its tensors in float32."""
    reader = gguf.GGUFReader(file)
    tensors = {t.name: np.array(gguf.dequantize(t.data, t.tensor_type)) for t in reader.tensors}
    return {name: field.contents() for name, field in reader.fields.items()}, tensors


def ours(source: Checkpoint, bank: BankName, name: str) -> Array:
    """A tensor of the checkpoint in float32."""
    return torch.cat(list(source.chunks(bank, name, "cpu"))).float().numpy()


def off(theirs: Array, wanted: Array) -> float:
    """Norm of the difference over norm."""
    return float(np.linalg.norm(theirs - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("kind", PRECISE)
def test_a_language_model_has_every_weight_in_its_place(source: Checkpoint, tmp_path: Path, kind: str) -> None:
    """In a row; q and k with neighbours where Llama has the halves of a head; head and embedding never in 4 bits."""
    settings, tensors = read(export_gguf(source, "G", tmp_path / "out", kind) / f"iaa-g-{kind}.gguf")
    assert settings["general.architecture"] == "llama" and settings["llama.block_count"] == 8
    assert len(tensors) == 3 + 8 * 9
    for block in range(8):
        bank: BankName = "g" if block % 2 else "base"
        up = ours(source, bank, f"layers.{block // 2}.mlp.up_proj.weight")
        assert off(tensors[f"blk.{block}.ffn_up.weight"], up) <= PRECISE[kind]
        for part, heads in (("q", 4), ("k", 2)):
            halves = ours(source, bank, f"layers.{block // 2}.self_attn.{part}_proj.weight").reshape(heads, 2, 16, 128)
            pairs = tensors[f"blk.{block}.attn_{part}.weight"].reshape(heads, 16, 2, 128)
            assert off(pairs.swapaxes(1, 2), halves) <= PRECISE[kind]
        norm = ours(source, bank, f"layers.{block // 2}.input_layernorm.weight")
        assert np.array_equal(tensors[f"blk.{block}.attn_norm.weight"], norm)
    for title, name in (("token_embd", "embed_tokens"), ("output", "lm_head")):
        assert off(tensors[f"{title}.weight"], ours(source, "g", f"{name}.weight")) <= min(PRECISE[kind], 0.01)


def test_the_vocabulary_is_the_tokenizers(source: Checkpoint, tmp_path: Path) -> None:
    """Every id has its token; control tokens are marked; no second begin token is written."""
    settings, _ = read(export_gguf(source, Task.TEXT, tmp_path / "out") / "iaa-text-f16.gguf")
    tokens = settings["tokenizer.ggml.tokens"]
    assert len(tokens) == len(set(tokens)) == source.config.vocab_size
    assert tokens[settings["tokenizer.ggml.bos_token_id"]] == "<|begin_of_text|>"
    assert tokens[settings["tokenizer.ggml.eos_token_id"]] == "<|eot_id|>"
    kinds = settings["tokenizer.ggml.token_type"]
    assert {t for t, k in zip(tokens, kinds, strict=True) if k == gguf.TokenType.CONTROL} >= {
        "<|eot_id|>",
        "<|end_of_text|>",
    }
    assert settings["tokenizer.ggml.add_bos_token"] is False
    assert settings["tokenizer.chat_template"] == chat_template(Task.TEXT, pictures_are_text=True)


def test_words_that_were_added_are_no_control_tokens(tmp_path: Path) -> None:
    """llama.cpp leaves those out of its text."""
    folder = make_checkpoint(tmp_path / "checkpoint")
    content = json.loads((folder / "tokenizer.json").read_text())
    word = next(token for token, number in content["model"]["vocab"].items() if number == 300)
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 300, "content": word, "special": False})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings, _ = read(export_gguf(Checkpoint(folder), Task.TEXT, tmp_path / "out") / "iaa-text-f16.gguf")
    assert settings["tokenizer.ggml.token_type"][300] == gguf.TokenType.USER_DEFINED


MARKER = "<__media_x3v__>"


def test_tokens_without_an_embedding_are_left_out(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "iaa", Geometry(vocab_size=384))
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["added_tokens"].append(content["added_tokens"][-1] | {"id": 384, "content": "<|one_too_many|>"})
    file.write_text(json.dumps(content), encoding="utf-8")
    settings, _ = read(export_gguf(Checkpoint(folder), "Text", tmp_path / "out", "f16") / "iaa-text-f16.gguf")
    assert len(settings["tokenizer.ggml.tokens"]) == 384


@pytest.mark.parametrize(
    ("as_text", "content", "picture"),
    [
        (True, [{"type": "text", "text": MARKER}, {"type": "text", "text": " What? "}], MARKER),  # llama-cpp-python
        (True, f"{MARKER} What? ", MARKER),  # llama-server
        (False, [{"type": "image"}, {"type": "text", "text": " What? "}], IMAGE_TOKEN),
    ],
)
def test_a_picture_that_is_text_has_its_line_end(as_text: bool, content: Any, picture: str) -> None:
    """What llama.cpp's servers make of a message gives the prompt that vLLM's part of its own gives, and ours."""
    template = Environment().from_string(chat_template(Task.MM, pictures_are_text=as_text))
    told = template.render(messages=[{"role": "user", "content": content}], add_generation_prompt=True)
    assert f"<|end_header_id|>\n\n{picture}\nWhat?<|eot_id|>" in told
    for words in (" a > b__> ", "<__media", " What? "):
        told = template.render(messages=[{"role": "user", "content": words}])
        assert f"<|end_header_id|>\n\n{words.strip()}<|eot_id|>" in told


def test_a_tower_has_the_layers_that_run(source: Checkpoint, tmp_path: Path) -> None:
    """And the task's projector; the two files are one but for the class token and the position table."""
    folder = export_gguf(source, "MM", tmp_path / "out", "f32")
    settings, today = read(folder / "mmproj-iaa-mm-f32.gguf")
    mended_settings, mended = read(folder / "mmproj-fixed-iaa-mm-f32.gguf")
    vision = source.require_vision()
    depth = vision.num_hidden_layers - 1
    assert settings["clip.vision.block_count"] == depth and settings["clip.vision.feature_layer"] == [depth]
    assert {name.split(".")[2] for name in today if name.startswith("v.blk.")} == {str(n) for n in range(depth)}
    assert not any("post_ln" in name for name in today)
    assert np.array_equal(today["mm.2.weight"], ours(source, "mm", "projector.2.weight"))
    assert np.array_equal(today["v.blk.0.ffn_up.bias"], ours(source, "vision", "tower.encoder.layers.0.mlp.fc1.bias"))
    assert settings["general.version"] == "class token last"
    assert mended_settings["general.version"] == "class token first"
    position = "v.position_embd.weight"
    for title, name in ((position, "position_embedding.weight"), ("v.class_embd", "class_embedding")):
        assert np.array_equal(mended.pop(title), ours(source, "vision", f"tower.embeddings.{name}"))
    assert np.array_equal(
        today.pop(position)[1:-1], ours(source, "vision", "tower.embeddings.position_embedding.weight")[2:]
    )
    assert today.keys() - mended.keys() == {"v.class_embd"}
    assert all(np.array_equal(today[name], mended[name]) for name in mended)


def test_the_table_of_g_is_rotated(source: Checkpoint, tmp_path: Path) -> None:
    """Its class token stays."""
    _, today = read(export_gguf(source, "G", tmp_path / "out", "f32") / "mmproj-iaa-g-f32.gguf")
    positions = ours(source, "vision", "tower.embeddings.position_embedding.weight")
    assert np.array_equal(today["v.position_embd.weight"], np.roll(positions, -1, 0))
    assert np.array_equal(today["v.class_embd"], ours(source, "vision", "tower.embeddings.class_embedding"))


def test_rows_that_scales_do_not_divide_are_f16(tmp_path: Path) -> None:
    """The reference checkpoint's are narrower than 32 weights."""
    source = Checkpoint(make_checkpoint(tmp_path / "model"))
    export_gguf(source, "Text", tmp_path / "out", "q8_0")
    reader = gguf.GGUFReader(tmp_path / "out" / "iaa-text-q8_0.gguf")
    types = {t.name: t.tensor_type.name for t in reader.tensors}
    narrow = {name for name, kind in types.items() if kind == "F16"}
    assert all((int(t.shape[0]) % 32 != 0) == (t.name in narrow) for t in reader.tensors if len(t.shape) > 1)


def test_what_cannot_be_written_leaves_nothing(source: Checkpoint, tmp_path: Path) -> None:
    """Neither a file nor a folder."""
    with pytest.raises(ConfigError, match=r"q4_k.*f32, f16"):
        export_gguf(source, "G", tmp_path / "out", "q4_k")
    int8 = Checkpoint(convert.convert(source, "int8", tmp_path / "int8"))
    with pytest.raises(CheckpointError, match="converted to int8"):
        export_gguf(int8, "G", tmp_path / "out")
    odd = Checkpoint(make_checkpoint(tmp_path / "odd", replace(Geometry(), projector="linear")))
    with pytest.raises(CheckpointError, match=r"'linear'; llama\.cpp has mlp2x_gelu"):
        export_gguf(odd, "MM", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="holds something"):
        export_gguf(source, "G", tmp_path / "full")
    large = GgufTensor("blk.0.ffn_up.weight", (32, 32), "f16", lambda: torch.full((32, 32), 1e6))
    with pytest.raises(CheckpointError, match="f32"):
        write_gguf(tmp_path / "x.gguf", "llama", lambda writer: None, [large])
    assert {path.name for path in tmp_path.iterdir()} <= {"int8", "odd", "full", "x.gguf"}
