"""Streamed text: whole characters, stop strings across tokens, and pieces that make up the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iaa_runtime.text.streaming import BROKEN, TextStream
from iaa_runtime.text.tokenizer import decode, load_tokenizer

TOKENIZER: Any = load_tokenizer(Path(__file__).parents[2] / "reference" / "checkpoint")
"""Byte-level: every byte is a token of its own, so that each character beyond ASCII is spread over tokens."""


def encode(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=False)
    return ids


def stream(ids: list[int], *stop: str) -> tuple[list[str], TextStream]:
    """Pushes tokens until a stop string; returns the pieces and the stream."""
    out, pieces = TextStream(TOKENIZER, stop), []
    for token in ids:
        pieces.append(out.push(token))
        if out.stopped:
            break
    return [*pieces, out.finish()], out


@pytest.mark.parametrize("text", ["é", "日本語", "👩‍🚀 ok", "naïve – “quoted”", "\N{FAMILY}x", "مرحبا"])
def test_characters_come_whole(text: str) -> None:
    pieces, out = stream(encode(text))
    assert out.text == "".join(pieces) == text
    assert not any(BROKEN in piece for piece in pieces)
    assert len([piece for piece in pieces if piece]) > 1 or len(text) == 1, "text comes as it grows, not at the end"


def test_text_comes_with_the_token_that_completes_it() -> None:
    pieces, _ = stream(encode("aé"))
    assert pieces == ["a", "", "é", ""]


def test_bytes_that_are_no_character_are_shown_as_such() -> None:
    pieces, out = stream([*encode("a"), encode("é")[0], *encode("b")])
    assert out.text == "".join(pieces) == f"a{BROKEN}b"
    _, out = stream([*encode("a"), encode("é")[0]])
    assert out.text == f"a{BROKEN}"


def test_control_tokens_say_nothing() -> None:
    end = TOKENIZER.convert_tokens_to_ids("<|eot_id|>")
    assert stream([*encode("done"), end])[1].text == "done"


def test_blanks_at_the_ends_are_dropped_and_those_inside_kept() -> None:
    pieces, out = stream(encode(" \n two  words \n"))
    assert out.text == "".join(pieces) == "two  words"


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("Hello END there", ["END"], "Hello"),
        ("Hello ENERGY", ["END"], "Hello ENERGY"),
        ("aab", ["ab"], "a"),
        ("ababac!", ["abac"], "ab"),
        ("one\n\ntwo", ["\n\n"], "one"),
        ("x é y", ["é"], "x"),
        ("ends with EN", ["END"], "ends with EN"),
        ("b first", ["zzz", "first", "st"], "b"),
        ("no stop", [""], "no stop"),
        ("END", ["END"], ""),
    ],
)
def test_the_answer_ends_before_a_stop_string(text: str, stops: list[str], expected: str) -> None:
    pieces, out = stream(encode(text), *stops)
    assert out.text == "".join(pieces) == expected
    assert out.stopped == any(stop and stop in text for stop in stops)


def test_nothing_follows_a_stop() -> None:
    out = TextStream(TOKENIZER, ["."])
    for token in encode("a."):
        out.push(token)
    assert (out.push(encode("b")[0]), out.finish(), out.text) == ("", "", "a")


def test_decode_takes_a_whole_answer() -> None:
    assert TextStream(TOKENIZER, ["!"]).decode(encode("日本! more")) == "日本"


STOPS = st.lists(st.text("ab \né", min_size=1, max_size=3), max_size=2)


@settings(max_examples=300, deadline=None)
@given(text=st.text("ab \né日👍", max_size=12), stops=STOPS)
def test_pieces_make_up_the_text_which_holds_no_stop(text: str, stops: list[str]) -> None:
    pieces, out = stream(encode(text), *stops)
    assert "".join(pieces) == out.text
    assert out.text == out.text.strip()
    assert not any(stop in out.text for stop in stops)
    if not stops:
        assert out.text == text.strip()
    assert text.lstrip().startswith(out.text)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 262), max_size=12))
def test_any_tokens_stream_to_what_they_decode_to(ids: list[int]) -> None:
    pieces, out = stream(ids)
    assert "".join(pieces) == out.text == decode(TOKENIZER, ids).strip()
