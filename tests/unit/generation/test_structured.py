"""Answers held to a JSON schema or a regular expression: whole ones alone come back, in batches and sampled."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import jsonschema
import pytest

from iaa_runtime import IAAPipeline
from iaa_runtime.errors import InputError
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.text.formats import MISSING

COLOR = {"enum": ["red", "blé"]}
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"color": COLOR, "n": {"type": "integer", "maximum": 99, "minimum": 0}}},
    {"type": "array", "items": {"type": "object", "properties": {"c": COLOR}, "required": ["c"]}, "maxItems": 3},
    {"type": "string", "maxLength": 5},
    {"type": "number", "minimum": 0, "maximum": 1},
]


@pytest.fixture(scope="module")
def pipeline() -> IAAPipeline:
    return IAAPipeline.from_pretrained()


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "temperature": 5.0, "seed": 3}])
@pytest.mark.parametrize("schema", SCHEMAS)
def test_answers_of_a_batch_have_the_schema(
    pipeline: IAAPipeline, schema: dict[str, Any], options: dict[str, Any]
) -> None:
    pictures = [draw_scene(make_scene(seed)) for seed in range(3)]
    for text in pipeline.caption(pictures, format=schema, **options):
        jsonschema.validate(json.loads(text), schema)


def test_an_expression_holds_the_language_model(pipeline: IAAPipeline) -> None:
    assert re.fullmatch("[A-Z]{2}-[0-9]{3}", pipeline.text("What is 2 plus 3?", format="[A-Z]{2}-[0-9]{3}"))


def test_a_cut_answer_is_none(pipeline: IAAPipeline) -> None:
    with pytest.raises(InputError, match="cut off after 4 tokens"):
        pipeline.text("Hi", format="[a-z]{200}", max_new_tokens=4)


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("(a", "unclosed group"),
        ('{"type": "colour"}', "Invalid type"),
        ('{"$ref": "file:///etc/passwd"}', "not opened"),
        ('{"a": ' * 9000 + "1" + "}" * 9000, "too deep"),
        ("a" * (1 << 20), "characters"),
        ("(a{1000}){1000}", "too many expressions"),
    ],
)
def test_what_cannot_be_held_is_refused(pipeline: IAAPipeline, format: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipeline.text("Hi", format=format)


def test_without_the_library_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that the tokenizer were at fault."""
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(InputError, match=f"^{re.escape(MISSING)}$"):
        IAAPipeline.from_pretrained().text("Hi", format="a")


def test_boxes_keep_their_own_grammar(pipeline: IAAPipeline) -> None:
    with pytest.raises(InputError, match="task G"):
        pipeline.ground(draw_scene(make_scene(1)), "ring", format="a")
