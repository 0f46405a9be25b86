"""Answers of servers held to a format: how that is asked for, and whether it was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.formats import is_schema
from ...errors import InputError, RemoteError
from ...text.formats import closed_schema, cut_off
from .messages import Completion
from .said import one_line
from .servers import Endpoint


def format_fields(format: str, endpoint: Endpoint) -> dict[str, Any]:
    """What a request says so that its answer is held to a format; nothing for an empty one.

    A schema is asked for as OpenAI's API does; of llama.cpp's servers in the form that both of them have.

    Raises:
        InputError: it is none that the server knows.
    """
    if not format:
        return {}
    if is_schema(format):
        schema = closed_schema(format)
        if endpoint.llama_cpp:
            return {"response_format": {"type": "json_object", "schema": schema}}
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
    if endpoint.llama_cpp:
        raise InputError(
            f"{endpoint.url} is llama.cpp's, which holds answers to JSON schemas but to no regular expression. Write "
            "the format as a schema, or open the model here."
        )
    return {"structured_outputs": {"regex": format}}


def check_formatted(row: int, answer: Completion, has_format: Callable[[str], bool], endpoint: Endpoint) -> None:
    """Checks that a server's answer has its format, with the blanks that it came with or without.

    Raises:
        CutOffError: it was cut off.
        RemoteError: the server did not hold it to its format.
    """
    if has_format(answer.text) or has_format(answer.text.strip()):
        return
    if answer.finish == "length":
        raise cut_off(row, answer.chunks, answer.chunks)
    raise RemoteError(
        f"{endpoint.model} at {endpoint.url} did not hold its answer to the format: '{one_line(answer.text)}'. "
        "Leave out of the format what that server leaves aside (some do bounds of numbers), or ask one that knows "
        "response_format and structured_outputs, such as a new vLLM."
    )
