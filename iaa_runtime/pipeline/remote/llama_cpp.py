"""What llama.cpp's server, and the one of llama-cpp-python, want to be asked otherwise than vLLM."""

from __future__ import annotations

from typing import Any

OWNERS = {"llamacpp", "me"}
"""Whose their models are, by their own word (``owned_by``): llama.cpp's server, and llama-cpp-python's."""

_BOXES = r"""
root ::= box{more}
box ::= "[" n "," n "," n "," n "]"
n ::= "0" ("." [0-9] [0-9]? [0-9]?)? | "1" ("." "0" "0"? "0"?)?
"""


def boxes_grammar(several: bool) -> str:
    """The grammar of boxes in GBNF, the form of llama.cpp."""
    return _BOXES.replace("{more}", ' ("; " box)*' if several else "").strip()


def literal_grammar(text: str) -> str:
    """The grammar of one text alone."""
    escaped = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
    return f'root ::= "{"".join(escaped.get(letter, letter) for letter in text)}"'


def translated(fields: dict[str, Any]) -> dict[str, Any]:
    """A request's fields as these servers know them.

    They send probabilities only with those of other tokens, and have defaults of their own (a penalty of 1.1 on
    repetition, the 40 most likely tokens) where nothing is said.
    """
    told = {name: value for name, value in fields.items() if name != "repetition_penalty"}
    told["repeat_penalty"] = fields.get("repetition_penalty", 1.0)
    if fields.get("logprobs"):
        told["top_logprobs"] = 1
    if fields["temperature"]:
        told = {"top_k": 0, "min_p": 0.0} | told
    return told
