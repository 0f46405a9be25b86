"""Boxes as programs and language models write them: JSON, tidy or as Python prints it, in prose or not, or tags.

Every function takes time linear in the text's length.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..errors import InputError
from .bounding_box import MOST_BOXES, check_count, shortened

LONGEST_TEXT = 100 * MOST_BOXES
"""Characters of a text with boxes."""


def value_in(text: str) -> object:
    """What a text says, as JSON values.

    What stands before ``</think>`` is left out; of the rest, JSON may stand in prose or a fenced block, with single
    quotes, commas at the end of lists, tuples, ``None``, and ``tensor(…)`` or ``array(…)`` around lists.
    Several dicts, or several lists of four numbers, are one list of them. Boxes in tags (:func:`_tagged`) go before
    JSON in prose.

    Returns:
        An empty list for an empty text.

    Raises:
        InputError: If there is none, it is not well-formed or longer than ``LONGEST_TEXT``, or there are several
            values that are not of one kind.
    """
    text = text.removeprefix("\ufeff").strip()
    if len(text) > LONGEST_TEXT:
        raise InputError(f"The text has {len(text)} characters, and {LONGEST_TEXT} are the most. Give fewer boxes.")
    if not text:
        return []
    try:
        return _strict_or_in_prose(text)
    except RecursionError:
        raise InputError(f"The text is nested too deeply to be boxes: {shortened(text)}. {HINT}") from None


def _strict_or_in_prose(text: str) -> object:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        whole = error
    text = text.rpartition("</think>")[2]
    found: list[Any] = _tagged(text)
    if found:
        return found
    for value in _in_prose(text):
        found.append(value)
        check_count(len(found))
        if len(found) > 1 and not (_all_dicts(found[-2:]) or _all_fours(found[-2:])):
            raise InputError(
                f"There are several JSON values in the text: {shortened(text)}. Put them into one list, an item an "
                "image."
            )
    if not found:
        raise InputError(f"The text is not JSON ({whole}): {shortened(text)}. {HINT}")
    return found[0] if len(found) == 1 else found


HINT = "Give boxes as ComfyUI's nodes make them, or JSON such as [[x1, y1, x2, y2]], one list an image."
_JSON_BEGINS = re.compile(r"[\[{]\s*(?=[\[\]{}(\"'0-9.-])")
"""A bracket of prose, as in "[see below]", is none of JSON."""


def _all_dicts(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _all_fours(values: list[Any]) -> bool:
    return all(
        isinstance(value, list) and len(value) == 4 and all(isinstance(number, (int, float)) for number in value)
        for value in values
    )


# JSON -----------------------------------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one that says a thing twice would lose what it said first."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = Counter(name for name, _ in pairs)
        twice = next(name for name, count in names.items() if count > 1)
        raise InputError(f"{shortened(made)} says {shortened(repr(twice))} twice. Make it two boxes, or leave one out.")
    return made


def _whole(digits: str) -> float:
    """A whole number of JSON; of thousands of digits, which Python refuses, infinity, which no box has."""
    return int(digits) if len(digits) <= 1000 else math.inf


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)


def _in_prose(text: str) -> Iterator[Any]:
    """The JSON values in a text, one after the other."""
    end, tidy = 0, True
    while begin := _JSON_BEGINS.search(text, end):
        try:
            if tidy:
                value, end = _DECODER.raw_decode(text, begin.start())
        except json.JSONDecodeError:
            tidy = False  # nor is the rest: to ask once more would count the lines of the text for each value
        if not tidy:
            value, end = _untidy(text, begin.start())
        yield value


def _untidy(text: str, begin: int) -> tuple[Any, int]:
    """The value that begins at a bracket, and where it ends."""
    tidy, end = _tidied(text, begin)
    try:
        return _DECODER.decode(tidy), end
    except json.JSONDecodeError as error:
        raise InputError(f"The JSON in the text breaks off or is wrong ({error.msg}): {shortened(text)}.") from None


_TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"\\]|\\.|\\\Z)*(?:"|\Z))
    | (?P<quoted>'(?:[^'\\]|\\.|\\\Z)*(?:'|\Z))
    | (?P<nothing>,(?=\s*[\]})]) | ,\s*\w+=(?:'[^']*'|[\w.]+))
    | (?P<word>\b(?:None|True|False)\b)
    | (?P<point>(?<!\d)\d{1,40}\.(?!\d))
    | (?P<open>(?:\b(?:tensor|array|(?:np\.)?(?:float|u?int)\d+))?\(|[\[{])
    | (?P<close>[)\]}])
    """,
    re.VERBOSE | re.DOTALL,
)
"""What is not JSON, or keeps its commas and brackets to itself. ``nothing``: a comma at the end, ``, device='cuda:0'``.
``point``: a number that ends in one, as tensors print it."""
_WORDS = {"None": "null", "True": "true", "False": "false"}
_BRACKETS, _CALL = {"[": ("[", "]", "]"), "{": ("{", "}", "}"), "(": ("[", ")", "]")}, ("", ")", "")
"""What is written for a bracket or for ``tensor(``; what closes it, and what is written for that."""
_DEEPEST = 100
"""Brackets in brackets that boxes may stand in."""


def _tidied(text: str, begin: int) -> tuple[str, int]:
    """The value that begins at a bracket as JSON, if it was that but for what ``_TOKEN`` names; and where it ends."""
    pieces, closing, end = [], [], begin
    for token in _TOKEN.finditer(text, begin):
        pieces.append(text[end : token.start()])
        end, said = token.end(), token[0]
        if token.lastgroup == "open":
            said, *ends = _BRACKETS.get(said, _CALL)
            closing.append(ends)
            if len(closing) > _DEEPEST:
                raise RecursionError
        elif token.lastgroup == "close":
            expected, instead = closing.pop()
            said = instead if said == expected else ")"  # which no JSON has
        elif token.lastgroup == "quoted":
            said = '"' + said[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
        elif token.lastgroup == "nothing":
            said = ""
        elif token.lastgroup == "word":
            said = _WORDS[said]
        elif token.lastgroup == "point":
            said += "0"
        pieces.append(said)
        if not closing:
            break
    return "".join(pieces), end


# Tags -----------------------------------------------------------------------------------------------------------------

_TAG = re.compile(
    r"<\|?(?:(?P<ref>ref|object_ref_start)|(?P<box>box|bbox|box_start|det))\|?>(?P<inside>[^<]*)", re.IGNORECASE
)
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{0,20})?")
_LOCATIONS = re.compile(r"((?:<loc_\d{1,4}>)+|(?:<loc\d{4}>)+)")
_ANY_TAG = re.compile(r"<[^<>]*>")


def _tagged(text: str) -> list[dict[str, Any]]:
    """Boxes in tags, each as ``{"box_2d": [y1, x1, y2, x2], "label": …}`` in thousandths; none if there is no tag.

    Read are ``<ref>label</ref><box>…</box>`` with four numbers a box, as Qwen-VL, Qwen2-VL, InternVL, MiniCPM-V and
    DeepSeek-VL2 spell it, each a little differently; ``label<loc_x1><loc_y1><loc_x2><loc_y2>`` of Florence-2; and
    ``<loc0y1><loc0x1><loc0y2><loc0x2> label ;`` of PaliGemma, which counts in parts of 1024.
    """
    found: list[dict[str, Any]] = []
    label = ""
    for tag in _TAG.finditer(text):
        if tag["ref"]:
            label = tag["inside"].strip()
            continue
        numbers = [float(number) for number in _NUMBER.findall(tag["inside"])]
        if not numbers or len(numbers) % 4:
            raise InputError(f"{shortened(tag[0])} holds {len(numbers)} numbers, where a box has four. {HINT}")
        for x1, y1, x2, y2 in zip(*[iter(numbers)] * 4, strict=True):
            found.append({"box_2d": [y1, x1, y2, x2], "label": label})
    parts = _LOCATIONS.split(text)
    for before, said, after in zip(parts[::2], parts[1::2], parts[2::2], strict=False):
        numbers = [float(number) for number in _NUMBER.findall(said)]
        if len(numbers) != 4:
            raise InputError(f"{shortened(said)} are {len(numbers)} numbers in a row, where a box has four. {HINT}")
        if said.startswith("<loc_"):
            x1, y1, x2, y2 = numbers
            found.append({"box_2d": [y1, x1, y2, x2], "label": before.rpartition(">")[2].strip()})
        else:
            edges = [number * 1000 / 1024 for number in numbers]
            found.append({"box_2d": edges, "label": _ANY_TAG.sub("", after).partition(";")[0].strip()})
    return found
