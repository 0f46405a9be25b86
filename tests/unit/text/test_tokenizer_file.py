"""What a tokenizer.json asks for: as much as Llamas need, and nothing that does not end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.errors import CheckpointError, ConfigError
from iaa_runtime.text.held_back import held_back
from iaa_runtime.text.tokenizer import decode, encode, load_tokenizer
from iaa_runtime.text.tokenizer_file import is_quick

DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
LLAMA_2 = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
}


def split(pattern: str) -> dict[str, Any]:
    """A pre-tokenizer that splits by a pattern."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


@pytest.fixture
def folder(reference: Path, tmp_path: Path) -> Path:
    """A folder with tokenizer.json alone."""
    (tmp_path / "tokenizer.json").write_bytes((reference / "checkpoint" / "tokenizer.json").read_bytes())
    return tmp_path


def change(folder: Path, **parts: object) -> None:
    """Replaces parts of the file."""
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))


def test_ours_are_let_through(folder: Path) -> None:
    assert load_tokenizer(folder) and load_tokenizer(DEMO_CHECKPOINT)
    change(folder, **LLAMA_2)
    assert load_tokenizer(folder)


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": {"type": "Sequence", "normalizers": [DOUBLE] * 40}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [DOUBLE] * 5}] * 8}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "aa"}, DOUBLE] * 20}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 30}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}] * 65}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "x?"}, "content": "a" * 300}},
        {"normalizer": {"pattern": {"String": "a"}, "content": "aa"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"decoder": {"type": "Sequence", "decoders": [DOUBLE] * 40}},
        {"pre_tokenizer": split("(a+)+$")},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split("(a|a)*b")]}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""}},
    ],
    ids=lambda parts: json.dumps(parts)[:60],
)
def test_what_explodes_is_refused_before_it_is_loaded(folder: Path, parts: dict[str, Any]) -> None:
    change(folder, **parts)
    begin = time.monotonic()
    with pytest.raises(CheckpointError, match=rf"The {next(iter(parts))} of .*tokenizer\.json that came with"):
        load_tokenizer(folder)
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("kind", ["table", "pairs", "added"])
def test_a_token_that_an_answer_could_fill_the_memory_with(folder: Path, kind: str) -> None:
    token = "x" * 1025
    vocabulary: Any = {"table": {token: 0, "a": 1}, "pairs": [["a", 0.0], [token, -1.0]], "added": {"a": 0}}[kind]
    change(folder, model={"vocab": vocabulary}, added_tokens=[{"content": token if kind == "added" else "a"}])
    with pytest.raises(CheckpointError, match=r"A token of .* has 1025 characters; 1024 are the most"):
        load_tokenizer(folder)


def test_a_model_that_draws_lots_is_refused(folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    change(folder, model=model | {"dropout": 0.9})
    with pytest.raises(CheckpointError, match="leaves out merges at random"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]*[\p{Ll}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+",
        r"[!#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|\s+",
    ],
    ids=["Llama 3", "GPT-2", "o200k", "classes"],
)
def test_patterns_in_use_are_quick(pattern: str) -> None:
    assert is_quick(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "(a|aa)* b",
        "(?:a*){2,}",
        "(a)\\1",
        "(?<x>a|\\g<x>b)",
        "a*a*a*a*a*b",
        "a{1000}{1000}",
        "a{2000}",
        "a" * 1001,
    ],
)
def test_patterns_that_may_not_end_are_not(pattern: str) -> None:
    assert not is_quick(pattern)


@pytest.mark.parametrize(
    "text", [" " * 200_000 + "a", "a" * 200_000, " \n" * 100_000, "'" * 200_000], ids=lambda t: t[:2]
)
def test_long_texts_are_quick(text: str) -> None:
    begin = time.process_time()
    encode(load_tokenizer(DEMO_CHECKPOINT), text)
    assert time.process_time() - begin < 2


def test_a_panic_of_the_library_is_an_error_of_ours(folder: Path) -> None:
    change(folder, pre_tokenizer={"type": "FixedLength", "length": 0})
    with pytest.raises(CheckpointError, match=r"gave up|is not a tokenizer"):
        encode(load_tokenizer(folder), "a cat")


def test_a_pattern_at_the_librarys_limit_is_told_in_one_sentence(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pattern = {"Regex": "x?" * 60 + "x" * 60 + "y"}
    change(folder, pre_tokenizer={"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})
    tokenizer = load_tokenizer(folder)
    with pytest.raises(CheckpointError, match=r"The tokenizer gave up .*Use the tokenizer\.json that came with"):
        encode(tokenizer, "x" * 60)
    assert capfd.readouterr().err == ""


def test_what_others_write_meanwhile_is_shown_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with held_back("KeyError"):
        os.write(2, b"from a thread")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "from a thread"
    with pytest.raises(ValueError), held_back("KeyError"):
        os.write(2, b"its words")
        raise ValueError
    assert capfd.readouterr().err == "its words"
    with pytest.raises(KeyError), held_back("KeyError"):
        os.write(2, b"its words")
        raise KeyError
    assert capfd.readouterr().err == ""


def test_a_pipe_or_an_endless_file_is_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="no regular file"):
        load_tokenizer(folder)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_broken_files_beside_it_are_told_of(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    with pytest.raises(CheckpointError, match=rf"{name} is not valid JSON"):
        load_tokenizer(folder)
    (folder / name).write_text('{"eos_token": 5}')
    with pytest.raises(ConfigError, match=rf"{name} sets 'eos_token' to 5"):
        load_tokenizer(folder)


def test_padding_that_the_file_asks_for_is_not_done(folder: Path) -> None:
    plain = encode(load_tokenizer(folder), "a cat")
    padding = {"strategy": {"Fixed": 1 << 30}, "direction": "Right", "pad_to_multiple_of": None}
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    change(folder, padding=padding | {"pad_id": 0, "pad_type_id": 0, "pad_token": "x"}, truncation=truncation)
    tokenizer = load_tokenizer(folder)
    assert encode(tokenizer, "a cat") == plain and decode(tokenizer, plain) == "a cat"
