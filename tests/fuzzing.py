"""What tests that fuzz parsers share: inputs of every kind, and what a parser owes to each of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from iaa_runtime.errors import IAAError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
    database=None,
)
SLOWEST = 1.0
"""Seconds of processor time that an input may take."""

numbers = (
    st.integers(-2000, 2000)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([10**400, -(10**400), 1e308, 5e-324, True, False, 0, -0.0])
)
texts = st.text(max_size=20) | st.sampled_from(
    ["", "\x00", "\ud800", "\x1b[2J", "[0.1,0.2,0.3,0.4]", "~nobody/x", "a" * 5000, "9" * 400, "**/*", "nan"]
)
WORDS = """
x y width height bbox bbox_2d box bboxes boxes labels label score scores detections text role content image task
phrases id path sent_id question_id expression img_path choices delta logprobs token logprob finish_reason error
metadata desc type answer file_name images annotations categories image_id category_id name iscrowd caption prompt
conversations from value seed ious questions category expression version settings count prompt_logprobs data owned_by
"""
KEYS = st.sampled_from(WORDS.split())
values = st.recursive(
    st.none() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS | texts, inner, max_size=5),
    max_leaves=12,
)
answers = st.lists(
    st.sampled_from(["[", "]", ",", ";", "; ", "0.", "1", "0.5", "-", "1e9", ".", " ", "0.123", "999999999", "nan"])
    | st.text(max_size=3),
    max_size=40,
).map("".join)
sizes = st.tuples(st.integers(1, 20000), st.integers(1, 20000))


def read(run: Callable[[], Any], *more: type[Exception]) -> Any:
    """What ``run`` returns, None where it says why not in an error of ours; it may take a second.

    A slow one has a second try: Python may have collected the garbage of thousands of inputs meanwhile.
    """
    for last in (False, True):
        begin, result = time.process_time(), None
        try:
            result = run()
        except (IAAError, *more) as error:
            assert str(error) and str(error) == str(error).strip()
        if time.process_time() - begin < SLOWEST:
            return result
        assert not last, "it takes more than a second"
    return None


def written(folder: Path, name: str, content: bytes) -> Path:
    """A file of this content."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def as_json(value: Any) -> bytes:
    """JSON of a value, as Python writes it, NaN and lone surrogates included."""
    return json.dumps(value).encode()


def json_lines() -> st.SearchStrategy[bytes]:
    """Lines of JSON objects, of anything else in JSON, and of no JSON."""
    lines = st.dictionaries(KEYS, values, max_size=6).map(as_json) | values.map(as_json) | st.binary(max_size=30)
    return st.lists(lines, max_size=4).map(b"\n".join)
