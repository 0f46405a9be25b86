"""Answers of servers held to a format: asked for in the server's words, and believed only where they have it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from model_server import ModelServer, says
from PIL import Image

from iaa_runtime.errors import InputError, RemoteError
from iaa_runtime.pipeline.remote import RemotePipeline

pytest.importorskip("llguidance")

PICTURE = Image.new("RGB", (30, 20), "red")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize("answer", ['{"n": 5}', '{"n":5}', '{\n  "n": 5\n}\n'])
def test_a_schema_is_asked_for_as_openai_does(server: ModelServer, remote: RemotePipeline, answer: str) -> None:
    """Servers space their JSON as they like."""
    server.behaves(says(answer))
    assert remote.caption([PICTURE] * 2, "How many?", format=SCHEMA) == [answer.strip()] * 2
    for body in server.bodies:
        told = body["response_format"]["json_schema"]
        assert body["response_format"]["type"] == "json_schema" and told["name"]
        assert told["schema"] == SCHEMA | {"additionalProperties": False}, "as answers made here have no others"
        assert "structured_outputs" not in body


@pytest.mark.parametrize("format", ["[a-z]+", r"[a-z]+\n", "yes|no"])
@pytest.mark.parametrize("answer", ["yes", "yes\n"])
def test_blanks_around_an_answer_may_be_the_formats_or_not(
    server: ModelServer, remote: RemotePipeline, format: str, answer: str
) -> None:
    server.behaves(says(answer))
    if answer.endswith("\n") or not format.endswith(r"\n"):
        assert remote.text("Code?", format=format) == "yes"
    else:
        with pytest.raises(RemoteError, match="did not hold its answer to the format: 'yes'"):
            remote.text("Code?", format=format)


ORDERED = {"type": "object", "properties": {"a": {"type": "integer"}, "n": {"type": "number", "maximum": 1}}}


@pytest.mark.parametrize("answer", ['{"n": 0.5, "a": 5}', '{"a": 5, "n": 0.00001}', '{"n": 2e-7}', '{"a": 5e0}'])
def test_an_answer_has_its_format_however_a_server_writes_it(
    server: ModelServer, remote: RemotePipeline, answer: str
) -> None:
    """llama.cpp's grammar writes properties that are required before all others, and numbers with exponents."""
    server.behaves(says(answer))
    assert remote.text("How many?", format=ORDERED) == answer
    server.behaves(says(answer.replace("5", "7.5").replace("e-7", "e7")))
    with pytest.raises(RemoteError, match="did not hold its answer to the format"):
        remote.text("How many?", format=ORDERED | {"required": ["a", "n"]})


def test_an_expression_is_asked_for_as_vllm_does(server: ModelServer, remote: RemotePipeline) -> None:
    server.behaves(says("AB", "-12"))
    assert remote.text("Code?", format="[A-Z]{2}-[0-9]{2}") == "AB-12"
    assert server.bodies[0]["structured_outputs"] == {"regex": "[A-Z]{2}-[0-9]{2}"}
    assert "response_format" not in server.bodies[0]
    remote.text("Free")
    assert not {"structured_outputs", "response_format"} & set(server.bodies[1])


@pytest.mark.parametrize("answer", ["Five.", '{"n": "5"}', '{"n": 5, "m": 1}', '{"n": 5} indeed', '{"n": 5', ""])
def test_an_answer_without_its_format_is_none(server: ModelServer, remote: RemotePipeline, answer: str) -> None:
    """A server that does not know the fields leaves them unread."""
    server.behaves(says(answer))
    with pytest.raises(RemoteError, match="did not hold its answer to the format"):
        remote.caption(PICTURE, "How many?", format=SCHEMA)


def test_a_cut_answer_is_none(server: ModelServer, remote: RemotePipeline) -> None:
    server.behaves(says('{"n"', ": 5", "000", reason="length"))
    with pytest.raises(InputError, match=r"Answer 1 was cut off after \d tokens, before it had its format"):
        remote.caption(PICTURE, "How many?", format=SCHEMA, max_new_tokens=3)


def lists_for_llama_cpp(exchange: Any, _: Any) -> None:
    exchange.send(200, json.dumps({"data": [{"id": "out/iaa-text-q8_0.gguf", "owned_by": "llamacpp"}]}))


def test_llama_cpp_knows_schemas_alone(server: ModelServer) -> None:
    server.lists = lists_for_llama_cpp
    remote = RemotePipeline.connect([server.url])
    server.behaves(says('{"n":7}'))
    assert remote.text("How many?", format=SCHEMA) == '{"n":7}'
    told = server.bodies[0]["response_format"]
    assert told == {"type": "json_object", "schema": SCHEMA | {"additionalProperties": False}}
    with pytest.raises(InputError, match="no regular expression"):
        remote.text("How many?", format="[0-9]+")
    assert len(server.bodies) == 1


@pytest.mark.parametrize("format", ["(a", '{"type": "colour"}'])
def test_what_is_no_format_is_not_asked(server: ModelServer, remote: RemotePipeline, format: str) -> None:
    with pytest.raises(InputError, match="cannot be held to this format"):
        remote.text("Hi", format=format)
    assert not server.bodies
