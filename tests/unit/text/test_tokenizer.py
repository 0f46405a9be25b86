"""The tokenizer: loaded from one file, decoded as written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.errors import CheckpointError
from iaa_runtime.text.tokenizer import decode, encode, fits, load_tokenizer, token_texts


@pytest.fixture
def folder(reference: Path, tmp_path: Path) -> Path:
    """A folder with tokenizer.json alone."""
    shutil.copyfile(reference / "checkpoint" / "tokenizer.json", tmp_path / "tokenizer.json")
    return tmp_path


def test_one_file_is_enough_and_no_config_is_looked_at(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "IAA", "auto_map": {"AutoTokenizer": "evil.Tokenizer"}}')
    (folder / "evil.py").write_text("raise SystemExit('executed')")
    tokenizer = load_tokenizer(folder)
    assert decode(tokenizer, tokenizer.encode("a cat", add_special_tokens=False)) == "a cat"


def test_decoding_keeps_every_blank(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    text = " a , b . Isn 't  it ?\n"
    assert decode(tokenizer, tokenizer.encode(text, add_special_tokens=False)) == text


def test_control_tokens_say_nothing_and_parts_of_characters_are_broken(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    end = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    ids = [*tokenizer.encode("aé", add_special_tokens=False), end]
    assert token_texts(tokenizer, ids) == ["a", "\ufffd", "\ufffd", ""]
    assert decode(tokenizer, ids) == "aé"


def test_a_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer.json in"):
        load_tokenizer(tmp_path)


def test_a_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not a tokenizer"):
        load_tokenizer(folder)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="ab cé🙂\n", max_size=400), tokens=st.integers(1, 40))
def test_what_is_said_not_to_fit_never_does(text: str, tokens: int) -> None:
    tokenizer = load_tokenizer(DEMO_CHECKPOINT)
    if not fits(tokenizer, text, tokens):
        assert len(encode(tokenizer, text)) > tokens


@pytest.mark.parametrize("text", ["the red star " * 80_000, "\U0001f642" * 300_000, " " * 100_000_000, "a\n" * 500_000])
def test_a_megabyte_is_judged_by_its_beginning(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, read = load_tokenizer(DEMO_CHECKPOINT), list[int]()
    whole = type(tokenizer).encode

    def encode(self: Any, part: str, **options: Any) -> Any:
        read.append(len(part))
        return whole(self, part, **options)

    monkeypatch.setattr(type(tokenizer), "encode", encode)
    assert not fits(tokenizer, text, 2048)
    assert sum(read) <= 2048 * 16
