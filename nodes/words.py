"""A node's English words (name, description, tooltips), from ``locales/en``; other languages stand beside it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from comfy_api.latest import io

ENGLISH = Path(__file__).parents[1] / "locales" / "en" / "nodeDefs.json"


def add_words(schema: io.Schema) -> io.Schema:
    """Fills in a schema's words and returns it.

    Raises:
        LookupError: the file lacks some; names what.
    """
    words = _of(_english(), schema.node_id, "node")
    schema.display_name, schema.description = words["display_name"], words["description"]
    for declared in schema.inputs:
        declared.tooltip = _of(words["inputs"], declared.id, f"input of {schema.node_id}:")["tooltip"]
        if isinstance(declared, io.DynamicCombo.Input):
            for nested in declared.get_all()[1:]:
                named = f"{declared.id}_{nested.id}"
                nested.tooltip = _of(words["inputs"], named, f"input of {schema.node_id}:")["tooltip"]
    for number, output in enumerate(schema.outputs):
        told = _of(words["outputs"], str(number), f"output of {schema.node_id}:")
        output.display_name, output.tooltip = told["name"], told["tooltip"]
    return schema


@cache
def _english() -> dict[str, Any]:
    return dict(json.loads(ENGLISH.read_text(encoding="utf-8")))


def _of(words: dict[str, Any], name: str, what: str) -> dict[str, Any]:
    if name not in words:
        raise LookupError(
            f"{ENGLISH} has no words for the {what} {name}. CONTRIBUTING.md, A new node, says what to do."
        )
    return dict(words[name])
