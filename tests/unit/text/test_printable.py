"""Control characters are spelled where text is shown."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.text.printable import guarded, printable, unguarded


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("Grüße, 你好, \U0001f468\u200d\U0001f469", "Grüße, 你好, \U0001f468\u200d\U0001f469"),
        ("\x1b[2J\x1b]0;title\x07", r"\u001b[2J\u001b]0;title\u0007"),
        ("done\rfake", r"done\u000dfake"),
        ("\x9b2J\x7f\x85\x00\x08", r"\u009b2J\u007f\u0085\u0000\u0008"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_steers_and_json_stays_json(text: str) -> None:
    shown = printable(text)
    assert all(c in "\n\t" or not (ord(c) < 32 or 127 <= ord(c) < 160) for c in shown)
    assert json.loads(printable(json.dumps({"a": text}, ensure_ascii=False))) == {"a": text}


def test_a_guarded_stream_is_the_stream_otherwise() -> None:
    stream = io.StringIO()
    guard = guarded(stream)
    print("a\x1bb", "c", sep="\r", end="\n", file=guard, flush=True)
    guard.writelines(["\x9b", "d\n"])
    assert guard.write("\x07!") == 2
    assert stream.getvalue() == "a\\u001bb\\u000dc\n\\u009bd\n\\u0007!"
    assert guard.isatty() is False and unguarded(guard) is stream and unguarded(stream) is stream
