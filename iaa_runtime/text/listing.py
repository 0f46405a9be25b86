"""Reads the objects that a model lists, in whatever form it lists them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain

MOST_OBJECTS = 50
"""More is a model that repeats itself."""
LONGEST = 100
"""Characters of an object's name; what is longer is a sentence about something else."""

_BULLET = re.compile(r"\s*(?:[-*•–—·]+(?=\s)|\(?[0-9]{1,3}[.):](?!\d))\s*")
_LEAD_IN = re.compile(
    r"(?:[^:]{0,80}:(?=\s)|(?:in|on) (?:the|this) (?:image|picture|photo)\b,?|there (?:is|are)\b|"
    r"(?:the|this) (?:image|picture|photo) (?:shows|contains|features|depicts|displays|includes)\b)\s*",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?<=\S)\s*(?:\([^()]*\)|（[^（）]*）)")
_BOLD = re.compile(r"\s*(\*\*|__)[^*_]+(?:\1\s*[:：–—-]|[:：]\1)")
_DESCRIBED = re.compile(r"([^:：,，、;；–—]{1,100}?)(?::[*_]*(?=\s|$)|：[*_]*|\s[–—]+\s|(?<=[*_])\s-\s)")
"""What stands before the mark is an object's name, and what stands behind it says more of it."""
_HEADING = re.compile(
    r"[\s*_]*(?:(?:in|on|at|to|from|here|there|(?:the|this) (?:image|picture|photo))\b.*|"
    r"(?:.*\s)?(?:objects?|items?|things?|shapes?|people|animals|vehicles|furniture)|"
    r"(?:the )?(?:foreground|background|left|right|middle|cent(?:er|re)|top|bottom)(?: side)?)[\s*_]*",
    re.IGNORECASE,
)
"""What stands there, too, and names no object, but where those are that follow, or what they have in common."""
# A comma before three digits is part of a number; before others it is not, as in Chinese lists (桌子1，2把椅子).
_SEPARATOR = re.compile(
    r"(?:[;、；]|[,，](?!(?<=\d[,，])\d{3}(?!\d)))(?:\s*and\b)?|\.(?=\s)|\s(?:and|&)(?=\s(?:an?|the|some|one|two|three|[0-9]+)\s)",
    re.I,
)
_JSON = re.compile(r"[\[{]")
_AND = re.compile(r"\s(?:and|&)\s", re.IGNORECASE)
_QUOTED = re.compile(r"[“”]|(?<![0-9A-Za-zÀ-ɏ])[\"'‘*_`]{1,3}([^\"'‘’*_`]*)[\"'’*_`]{1,3}(?![0-9A-Za-zÀ-ɏ])")
"""Marks in pairs; beside a Latin letter or a digit one may be an apostrophe or inches."""
_ARTICLE = re.compile(r"(?:an?|the|some|and)\s+", re.IGNORECASE)
_AROUND = " \t\"'`[]{}*_.!?…:-–—•“”‘’。！？"
_NOTHING = {"none", "nothing", "n/a", "etc"}


def listed_objects(text: str) -> list[str]:
    """The objects of a list: ``1. A dog`` a line, ``a dog, a cat and two birds``, with a sentence around or without.

    Of an item that says more, such as ``1. **Dog**: asleep``, the name is taken.

    Args:
        text: a model's answer.

    Returns:
        Names without articles, each once, at most ``MOST_OBJECTS``; each has a letter of some script.
    """
    objects: dict[str, str] = {}
    strings = _of_json(text)
    names = chain.from_iterable(map(_items, text.splitlines())) if strings is None else map(_name, strings)
    for name in names:
        if any(map(str.isalpha, name)) and name.casefold() not in _NOTHING and len(name) <= LONGEST:
            objects.setdefault(name.casefold(), name)
    return list(objects.values())[:MOST_OBJECTS]


def _of_json(text: str) -> list[str] | None:
    """The strings of the first JSON list, alone or as an object's only value, whatever is said around; or None."""
    begin = _JSON.search(text)
    try:
        value, _ = json.JSONDecoder().raw_decode(text, begin.start()) if begin else (None, 0)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if is_list else None


def _items(line: str) -> Iterator[str]:
    bullet = _BULLET.match(line)
    line = _ASIDE.sub("", line[bullet.end() :] if bullet else line)
    # A sentence with a colon in front of a list is no item of one, nor bold; on a line of its own it may be a heading.
    alone = line.rstrip().endswith((":", "："))
    if (bullet or alone or _BOLD.match(line)) and (described := _DESCRIBED.match(line)):
        line = line[described.end() :] if _HEADING.fullmatch(described[1]) else described[1]
    while lead_in := _LEAD_IN.match(line):
        line = line[lead_in.end() :]
    parts = _SEPARATOR.split(_QUOTED.sub(r"\1", line))
    for number, part in enumerate(parts):
        # "tables and chairs" ends a list, "a black and white cat" does not.
        left, *right = _AND.split(part, maxsplit=1)
        last_two = number == len(parts) - 1 and right and len(_name(left).split()) >= len(right[0].split())
        yield from map(_name, (left, *right) if last_two else (part,))


def _name(part: str) -> str:
    name = " ".join(part.split()).strip(_AROUND)
    while article := _ARTICLE.match(name):
        name = name[article.end() :].lstrip(_AROUND)
    return name
