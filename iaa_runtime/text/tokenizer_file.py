"""What a tokenizer.json may ask for: its normalisers and patterns work on every text, so some can take for ever.

A vocabulary is data, but the steps around it are a small program: replacements that double a text forty times, patterns
that backtrack. Tokenizers of Llamas need few of either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config.small_files import load_json
from ..errors import CheckpointError

LARGEST = 32 << 20
"""Bytes of a tokenizer.json; Llama 3's has 9 MB."""
MOST_GROWTH = 256
"""How many times longer normalisers, or decoders, may make a text."""
LONGEST_TOKEN = 1024
"""Characters of a token; Llama 3's longest has 128. A short answer of long ones fills the memory."""
MOST_STEPS = 64
MOST_PATTERN = 1000
"""Characters of a pattern; Llama 3's has 130."""

_GROWTH: Mapping[str, float] = {
    **dict.fromkeys(("Strip", "StripAccents", "Nmt"), 1),
    **{"Lowercase": 2, "NFC": 3, "NFD": 4, "BertNormalizer": 4, "ByteLevel": 4, "NFKC": 18, "NFKD": 18},
}
"""How many characters each kind of normaliser may make of one (NFKC: the longest of Unicode's decompositions)."""
_DECODERS = ("BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Strip", "WordPiece")
_ESCAPE, _CLASS = re.compile(r"\\(?:[pP]\{[^}]*\}|(.))", re.DOTALL), re.compile(r"\[\^?[^\]]*\]")
_REFERENCES = set("gk123456789")
_REPEATED_GROUP = re.compile(r"\)\s*[*+{]|[*+}]\{|\{\d{4,}|,\d{4,}\}")
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")
_MOST_UNBOUNDED = 3


def checked_tokenizer(folder: Path) -> Path:
    """The ``tokenizer.json`` of a checkpoint's folder, known to be harmless.

    Raises:
        CheckpointError: it is missing, unreadable, or would not end, or fill the memory, on texts that are harmless.
    """
    file = folder / "tokenizer.json"
    _check(load_json(file, LARGEST), file)
    return file


def _check(content: Mapping[str, Any], file: Path) -> None:
    """Raises :class:`CheckpointError` that says which part of the file would not end."""
    longest = max(map(len, _tokens(content)), default=0)
    if longest > LONGEST_TOKEN:
        raise CheckpointError(f"A token of {file} has {longest} characters; {LONGEST_TOKEN} are the most. {_REMEDY}")
    model = content.get("model")
    if isinstance(model, Mapping) and model.get("dropout"):
        raise CheckpointError(
            f"The model of {file} leaves out merges at random ('dropout'), so no prompt is twice the same. {_REMEDY}"
        )
    for part, known in (("normalizer", _GROWTH), ("decoder", dict.fromkeys(_DECODERS, 1.0))):
        steps = list(_steps(content.get(part)))
        growth = math.prod(_growth(step, known) for step in steps)
        if len(steps) > MOST_STEPS or growth > MOST_GROWTH:
            raise CheckpointError(
                f"The {part} of {file} has {len(steps)} steps, which may make a text {growth:.3g} times as long; "
                f"{MOST_STEPS} and {MOST_GROWTH} are the most. {_REMEDY}"
            )
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        for pattern in _patterns(content.get(part)):
            if not is_quick(pattern):
                raise CheckpointError(
                    f"The {part} of {file} looks for {pattern[:80]!r}, which may take for ever on some texts. {_REMEDY}"
                )


def is_quick(pattern: str) -> bool:
    """Whether a regular expression cannot backtrack exponentially: no repeated group, no reference to another.

    It may refuse harmless ones. What it lets through can still take the cube of a text's length.
    """
    bare = _CLASS.sub("x", _ESCAPE.sub("x", pattern))
    return (
        len(pattern) <= MOST_PATTERN
        and _REFERENCES.isdisjoint(_ESCAPE.findall(pattern))
        and not _REPEATED_GROUP.search(bare)
        and all(len(_UNBOUNDED.findall(branch)) <= _MOST_UNBOUNDED for branch in bare.split("|"))
    )


_REMEDY = "Use the tokenizer.json that came with the checkpoint."


def _tokens(content: Mapping[str, Any]) -> Iterator[str]:
    """All tokens: of the vocabulary, a table or a list of pairs, and the added ones; of what is neither, none."""
    model = content.get("model")
    for tokens in (model.get("vocab") if isinstance(model, Mapping) else None, content.get("added_tokens")):
        for token in tokens if isinstance(tokens, (list, Mapping)) else ():
            if isinstance(token, Mapping):
                token = token.get("content")
            elif isinstance(token, list):
                token = token[0] if token else None
            if isinstance(token, str):
                yield token


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """The steps of a normaliser or decoder, those within sequences one by one; what is no step is the library's."""
    if not isinstance(part, Mapping):
        return
    if part.get("type") != "Sequence":
        yield part
        return
    for name in ("normalizers", "decoders"):
        for inner in part.get(name) or ():
            yield from _steps(inner)


def _growth(step: Mapping[str, Any], known: Mapping[str, float]) -> float:
    """How many times longer a step may make a text; without end for one that we do not know."""
    kind, content = step.get("type"), step.get("content")
    if kind == "Replace" and isinstance(content, str):
        pattern = step.get("pattern")
        text = pattern.get("String") if isinstance(pattern, Mapping) else None
        return max(1.0, len(content) / len(text)) if isinstance(text, str) and text else 1.0 + len(content)
    if kind == "Prepend" and isinstance(step.get("prepend"), str):
        return 1.0 + len(step["prepend"])
    return known.get(kind, math.inf) if isinstance(kind, str) else math.inf


def _patterns(part: Any) -> Iterator[str]:
    """Every regular expression below a part of the file."""
    if isinstance(part, Mapping):
        if isinstance(part.get("Regex"), str):
            yield part["Regex"]
        for inner in part.values():
            yield from _patterns(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _patterns(inner)
