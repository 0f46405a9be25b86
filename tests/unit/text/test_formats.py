"""Schemas as they are read: what is a keyword, and what is a name that somebody gave."""

from __future__ import annotations

import json

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
