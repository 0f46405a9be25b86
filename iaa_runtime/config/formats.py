"""What an answer may be held to, as users write it: a JSON schema, or a regular expression.

Here it is only read, as the data that it is; what it means is compiled in :mod:`iaa_runtime.text.formats`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import InputError, spelled

MOST_CHARACTERS = 1 << 16
DEEPEST = 48
"""Lists and objects inside one another; a schema takes two of them for each level of what it describes."""
DATA = ("const", "default", "enum", "examples")
"""Keywords whose values are data, not schemas."""
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose values are schemas by names, which may be those of keywords."""

_Part = dict[str, Any] | list[Any]


def is_schema(format: str) -> bool:
    """Whether a format is a JSON schema: it begins with a brace, which no regular expression does."""
    return format.startswith("{")


def checked_format(value: object) -> str:
    """A format as text, without blanks at either end; a schema as JSON.

    Args:
        value: a schema as a dict; or a text: a schema where it begins with ``{``, else a regular expression.

    Raises:
        InputError: it is neither, too long or too deep, or refers to what stands elsewhere, which is never opened.
    """
    text = _written(value) if isinstance(value, Mapping) else value
    if not isinstance(text, str):
        raise InputError(f"format is {spelled(value)}; it must be a JSON schema or a regular expression.")
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"format has {len(text):,} characters; {MOST_CHARACTERS:,} are the most.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("format holds half of a character (a lone surrogate). Type it anew.") from None
    if is_schema(text):
        _check_schema(text)
    return text


def _written(schema: Mapping[Any, Any]) -> str:
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise InputError(_TOO_DEEP) from None
    except (TypeError, ValueError) as error:
        raise InputError(f"format cannot be written as JSON ({str(error)[:200]}). Give a JSON schema.") from None


def _check_schema(text: str) -> None:
    try:
        schema = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise InputError(_TOO_DEEP) from None
    except ValueError as error:
        raise InputError(
            f"format begins with a brace, so it is read as a JSON schema, but it is no JSON ({str(error)[:200]})."
        ) from None
    if "x-guidance" in schema:
        raise InputError("format has the key 'x-guidance', options of a library, which have no effect here. Remove it.")
    level: list[tuple[_Part, bool]] = [(schema, False)]
    for _ in range(DEEPEST):
        level = [child for part, named in level for child in _children(part, named)]
    if level:
        raise InputError(_TOO_DEEP)


def _children(part: _Part, named: bool) -> list[tuple[_Part, bool]]:
    """The objects and lists of a part of a schema; of each, as of ``part``, whether it holds schemas by names."""
    if isinstance(part, list):
        held = [(child, False) for child in part]
    elif named:
        held = [(child, False) for child in part.values()]
    else:
        _check_references(part)
        held = [(child, key in NAMED) for key, child in part.items() if key not in DATA]
    return [(child, names) for child, names in held if isinstance(child, (dict, list))]


def _check_references(part: dict[str, Any]) -> None:
    for key in ("$ref", "$dynamicRef", "$recursiveRef"):
        target = part.get(key)
        if isinstance(target, str) and not target.startswith("#"):
            raise InputError(
                f"format refers to {spelled(target)}, which is not opened. Put it under $defs, and refer to #/$defs/…."
            )


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


_TOO_DEEP = f"format is nested too deep; {DEEPEST} levels are the most. Name parts under $defs, and refer to them."
