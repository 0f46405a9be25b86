"""JSON that somebody else wrote, against a grammar that writes it in one way alone.

A grammar of llguidance has an order of properties, and no exponents in numbers with bounds; a schema knows neither.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn

MOST_DIGITS = 400
"""Before or behind the point, of numbers that are written out; the largest double has 309."""
TRIES = 10_000
"""Pieces of JSON that are tried at least: which order of optional properties is the grammar's shows at the end only."""


def has_schema(matcher: Any, schema: Any, text: str) -> bool:
    """Whether a text is JSON that a grammar takes in some order of properties and some spelling of numbers.

    Args:
        matcher: of the grammar, before its first token, which is a byte; it is used up.
        schema: the grammar's; where it lists properties, the grammar mostly has them in that order.
        text: a whole answer.
    """
    try:
        value = json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=_no_json)
        writer = _Writer(matcher, _names(schema, {}), TRIES + 4 * len(text))
        as_it_stands = json.dumps(json.loads(text), ensure_ascii=False)  # where nothing has to be tried, of any size
        written = writer.text(as_it_stands) or writer.value(value)
    except (ValueError, ArithmeticError, RecursionError):
        return False
    return written and bool(matcher.is_accepting())


class _Writer:
    """Writes as the grammar does. Each method says whether that was taken; if not, nothing is written."""

    def __init__(self, matcher: Any, names: dict[str, int], tries: int) -> None:
        self._matcher, self._names, self._tries = matcher, names, tries
        self._length = 0  # bytes so far

    def value(self, value: Any) -> bool:
        before = self._length
        if isinstance(value, dict):
            ranked = sorted(value, key=lambda name: self._names.get(name, len(self._names)))
            taken = self.text("{") and self._members({name: value[name] for name in ranked}, "")
        elif isinstance(value, list):
            items = enumerate(value)
            taken = self.text("[") and all(self.text(", " * (n > 0)) and self.value(item) for n, item in items)
            taken = taken and self.text("]")
        else:
            taken = any(map(self.text, _spellings(value)))
        return taken or self._undo(before)

    def _members(self, members: dict[str, Any], separator: str) -> bool:
        """Writes those left of an object, and its end."""
        if not members:
            return self.text("}")
        before = self._length
        for name, value in members.items():
            rest = {other: members[other] for other in members if other != name}
            key = f"{separator}{json.dumps(name, ensure_ascii=False)}: "
            if self.text(key) and self.value(value) and self._members(rest, ", "):
                return True
            self._undo(before)
        return False

    def text(self, text: str) -> bool:
        self._tries -= 1
        if self._tries < 0:
            return False
        data = list(text.encode(errors="replace"))
        taken = self._matcher.try_consume_tokens(data)
        self._length += taken
        return taken == len(data) or self._undo(self._length - taken)

    def _undo(self, length: int) -> bool:
        """Takes back what was written behind ``length``. Returns False."""
        if self._length > length:
            self._matcher.rollback(self._length - length)
            self._length = length
        return False


def _spellings(value: Any) -> list[str]:
    """A text, a number, or one of JSON's three words: of a number as it came, written out, and as short as it goes."""
    if not isinstance(value, Decimal):
        return [json.dumps(value, ensure_ascii=False)]
    if max(abs(value.adjusted()), len(value.as_tuple().digits)) > MOST_DIGITS:
        return [str(value)]
    plain = format(value, "f")
    short = plain.rstrip("0").rstrip(".") if "." in plain else plain  # 1.0 is an integer, too
    return list(dict.fromkeys([str(value), plain, short, f"{short}.0" if "." not in short else short]))


def _names(schema: Any, names: dict[str, int]) -> dict[str, int]:
    """Names of properties with their ranks, those of outer objects first."""
    if isinstance(schema, dict):
        if isinstance(listed := schema.get("properties"), dict):
            for name in listed:
                names.setdefault(name, len(names))
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        _names(part, names)
    return names


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
