"""Formats as grammars over tokens, by the library llguidance (MIT; no torch), which is an extra.

A schema's answers are written on one line with ``", "`` and ``": "``, as Python's json does, its properties in the
schema's order; where it lists some and is silent on ``additionalProperties``, there are no others. Nothing is fetched:
a reference to elsewhere is an error.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from typing import Any

from ..config.formats import DATA, NAMED, is_schema
from ..errors import CheckpointError, CutOffError, InputError
from .json_answers import has_schema
from .printable import printable

KEPT = 8
"""Compiled formats of a tokenizer."""
MISSING = (
    "Answers are held to a format by the package llguidance, which is not installed. Install it with: pip install "
    "llguidance (for ComfyUI, with the Python that runs it: python -m pip install llguidance), or leave format empty."
)
_LIMITS = {"step_lexer_fuel": 50_000, "verbose_errors": False}
"""A step of the worst expressions takes half a second then."""
_OPTIONS = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": False,
}


def format_check(format: str) -> Callable[[str], bool]:
    """A function that tells whether a whole text has a format.

    JSON may be spaced, its properties ordered, and its letters and numbers spelled as whoever wrote it likes.

    Raises:
        InputError: the library is not installed, or cannot hold answers to this; says why.
    """
    compiled = _compiled(_library().LLTokenizer("byte"), format)
    schema = closed_schema(format) if is_schema(format) else None

    def has_format(text: str) -> bool:
        matcher = compiled.deep_copy()
        if schema is not None:
            return has_schema(matcher, schema, text)
        data = list(text.encode(errors="replace"))
        return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())

    return has_format


def cut_off(row: int, tokens: int, most: int) -> CutOffError:
    """The error that an answer ended before it had its format: at ``most`` tokens, or where the context was full."""
    remedy = "Raise max_new_tokens" if tokens >= most else "The context is full: shorten the prompt"
    return CutOffError(
        f"Answer {row + 1} was cut off after {tokens} tokens, before it had its format. {remedy}; or "
        "bound what the format leaves open (maxLength, maxItems, minimum and maximum of a number, {0,20} for *)."
    )


class Formats:
    """Formats over the tokens of one tokenizer; the compiled ones are kept. Threads may share it.

    Args:
        tokenizer: a fast one.
        vocab_size: V, of the model; ids that the tokenizer does not know are never allowed.
        eos: the id that ends an answer.

    Raises:
        InputError: the library is not installed.
        CheckpointError: the library cannot read the tokenizer.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, eos: int) -> None:
        backend = copy.copy(tokenizer.backend_tokenizer)
        backend.no_padding()
        backend.no_truncation()
        known = 1 + max(tokenizer.get_vocab().values())
        library = _library()
        try:
            self._tokens = library.LLTokenizer(backend.to_str(), n_vocab=max(known, vocab_size), eos_token=eos)
        except ValueError as error:
            raise CheckpointError(
                f"Answers of this tokenizer cannot be held to a format ({_reason(str(error))}). Leave format empty."
            ) from None
        self._compiled: dict[str, Any] = {}
        self._lock = threading.Lock()

    def matcher(self, format: str) -> Any:
        """A matcher before its first token, the caller's own; raises what :func:`format_check` does."""
        with self._lock:
            if format not in self._compiled:
                if len(self._compiled) >= KEPT:
                    del self._compiled[next(iter(self._compiled))]
                self._compiled[format] = _compiled(self._tokens, format)
            return self._compiled[format].deep_copy()


def _compiled(tokens: Any, format: str) -> Any:
    library = _library()
    matcher = library.LLMatcher
    try:
        if is_schema(format):
            schema = json.dumps(closed_schema(format))
            grammar = matcher.grammar_from_json_schema(schema, overrides=_OPTIONS)
        else:
            grammar = matcher.grammar_from_regex(format)
        made = matcher(tokens, grammar, log_level=0, limits=library.LLParserLimits(**_LIMITS))
    except ValueError as error:
        raise InputError(_refusal(str(error))) from None
    trial = made.deep_copy()
    if not trial.is_error():
        trial.compute_bitmask()  # the first step is where expressions explode
    if trial.is_error():
        raise InputError(_refusal(trial.get_error()))
    return made


def closed_schema(format: str) -> Any:
    """A schema that says of itself what it leaves to us: where it lists properties, there are no others."""
    return _closed(json.loads(format))


def _closed(part: Any, named: bool = False) -> Any:
    """A schema, or some by names, whose objects have no properties but those listed.

    Parts of an ``allOf`` list each other's.
    """
    if isinstance(part, list):
        return [_closed(child) for child in part]
    if not isinstance(part, dict):
        return part
    if named:
        return {name: _closed(child) for name, child in part.items()}
    closed = {key: child if key in ("allOf", *DATA) else _closed(child, key in NAMED) for key, child in part.items()}
    if isinstance(part.get("properties"), dict) and "allOf" not in part:
        closed.setdefault("additionalProperties", False)
    return closed


def _refusal(reason: str) -> str:
    return f"Answers cannot be held to this format: {_reason(reason)}. Change it, or leave format empty."


def _reason(text: str) -> str:
    """The library's words, on one line and not long; it puts a drawing of the place around them."""
    stated = [line.strip() for line in text.splitlines() if line.strip().startswith("error:")]
    words = printable(" ".join((stated[0].removeprefix("error:") if stated else text).split())).rstrip(".")
    return words if len(words) <= 200 else f"{words[:200]}…"


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise InputError(MISSING) from None
    return llguidance
