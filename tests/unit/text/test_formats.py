"""Schemas as they are read: what is a keyword, and what is a name that somebody gave."""

from __future__ import annotations

import json
import time

import pytest

from iaa_runtime.config.formats import DATA, DEEPEST, NAMED, checked_format
from iaa_runtime.errors import InputError
from iaa_runtime.text.formats import closed_schema, format_check

OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = OPEN | {"additionalProperties": False}
NAMES = ("a", "allOf", "properties", *DATA)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keyword", NAMED)
def test_objects_are_closed_under_any_name(keyword: str, name: str) -> None:
    said = closed_schema(json.dumps({"type": "object", keyword: {name: OPEN}}))
    assert said[keyword] == {name: CLOSED}


@pytest.mark.parametrize("keyword", ["allOf", *DATA])
def test_data_and_parts_that_belong_together_stay_as_they_are(keyword: str) -> None:
    schema = {keyword: [OPEN]}
    assert closed_schema(json.dumps(schema)) == schema


@pytest.mark.parametrize("name", NAMES)
def test_answers_have_no_properties_but_those_listed(name: str) -> None:
    pytest.importorskip("llguidance")
    for schema in (
        {"properties": {name: OPEN}},
        {"properties": {name: {"$ref": "#/$defs/" + name}}, "$defs": {name: OPEN}},
    ):
        has_format = format_check(json.dumps({"type": "object"} | schema))
        assert has_format(json.dumps({name: {"a": "x"}}))
        assert not has_format(json.dumps({name: {"a": "x", "b": 1}}))


A, B = {"a": {"type": "integer"}}, {"b": {"type": "number", "minimum": 0, "maximum": 1}}
WAYS = {
    "order": ({"properties": A | B}, [{"b": 0.5, "a": 1}, {"b": 0.5}, {}], [{"b": 2, "a": 1}, {"b": 0.5, "c": 1}]),
    "missing": ({"properties": A | B, "required": ["a"]}, [{"b": 0.5, "a": 1}], [{"b": 0.5}]),
    "others": ({"properties": A | B, "additionalProperties": {"type": "null"}}, [{"c": None, "a": 1}], [{"c": 1}]),
    "inner": (
        {"properties": {"x": {"type": "array", "items": {"$ref": "#/$defs/y"}}}, "$defs": {"y": {"properties": B | A}}},
        [{"x": [{"a": 1, "b": 0}, {"b": 0, "a": 1}]}],
        [{"x": [{"a": 1, "b": 0}, {"b": 0, "a": "1"}]}],
    ),
    "two orders": (
        {"anyOf": [{"properties": A | {"b": {"const": 1}}}, {"properties": {"b": {"const": 2}} | A}]},
        [{"a": 1, "b": 1}, {"b": 1, "a": 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1}],
        [{"a": 1, "b": 3}, {"b": 1, "a": "1"}],
    ),
    "parts": ({"allOf": [{"properties": B}, {"properties": A}]}, [{"a": 1, "b": 0}, {"b": 0, "a": 1}], [{"a": 0.5}]),
}


@pytest.mark.parametrize(("schema", "right", "wrong"), WAYS.values(), ids=WAYS)
def test_properties_of_others_answers_stand_in_any_order(
    schema: dict[str, object], right: list[object], wrong: list[object]
) -> None:
    """jsonschema agrees: the cases say what the standard says."""
    pytest.importorskip("llguidance")
    jsonschema = pytest.importorskip("jsonschema")
    schema = {"type": "object"} | schema
    has_format = format_check(json.dumps(schema))
    reference = jsonschema.Draft202012Validator(closed_schema(json.dumps(schema)))
    for answer in (*right, *wrong):
        assert has_format(json.dumps(answer)) == reference.is_valid(answer) == (answer in right), answer


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "number", "minimum": 0, "maximum": 1}, "0.00001 1e-5 1E-300 0.1e1 0.50 5e-1 1.0 0", "1.1e0 -1e-9 2"),
        ({"type": "integer", "minimum": 1, "maximum": 5000}, "7 1e3 5000.0 0.5e1", "0.5 1e4 7e-1 1e999999999"),
        ({"type": "number"}, "1e-5 1.5E+20 -0.0 123456789012345678901234567890.5", "NaN Infinity 1. .5 01 1e"),
        ({"enum": [1e-05, 1.0, 2]}, "0.00001 1e-5 1 1.0 2 2.0", "0.0001 1.5 3"),
    ],
)
def test_numbers_of_others_answers_are_spelled_in_any_way(schema: dict[str, object], right: str, wrong: str) -> None:
    pytest.importorskip("llguidance")
    has_format = format_check(json.dumps(schema))
    assert [text for text in right.split() if not has_format(text)] == []
    assert [text for text in wrong.split() if has_format(text)] == []


def test_an_answer_that_could_be_written_in_many_ways_is_read_in_little_time() -> None:
    pytest.importorskip("llguidance")
    names = [f"p{number}" for number in range(60)]
    has_format = format_check(json.dumps({"type": "object", "properties": {name: {"type": "null"} for name in names}}))
    start = time.monotonic()
    assert has_format(json.dumps(dict.fromkeys(reversed(names))))
    assert not has_format(json.dumps(dict.fromkeys(reversed(names)) | {"p0": 1}))
    assert not has_format("[" * 100_000)
    assert time.monotonic() - start < 20, "all orders would take for ever"
    has_format = format_check('{"type": "object"}')
    assert has_format(json.dumps({f"p{number}": [None] * 10 for number in range(2000)}))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_refused_is_found_under_any_name(name: str) -> None:
    with pytest.raises(InputError, match="is not opened"):
        checked_format({"properties": {name: {"$ref": "file:///etc/passwd"}}})
    deep: dict[str, object] = {}
    for _ in range(DEEPEST):
        deep = {"properties": {name: deep}}
    with pytest.raises(InputError, match="too deep"):
        checked_format(deep)


def test_data_may_look_like_a_reference() -> None:
    schema = {"const": {"$ref": "file:///etc/passwd"}}
    assert json.loads(checked_format(schema)) == schema
