"""What importing the pack costs a ComfyUI that is up, and every node's schema and signature."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bring_up

# What ComfyUI has imported by itself when it comes to a pack's own code: its main.py, and what reads pyproject.toml.
import comfy_config.config_parser  # noqa: F401
import execution  # noqa: F401
import server  # noqa: F401


def body_lines(function: Callable[..., object]) -> int:
    """Lines of a method behind its signature and docstring."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef)
    first, *rest = definition.body[1:]
    return ((rest or [first])[-1].end_lineno or 0) - first.lineno + 1


def describe(cls: Any) -> dict[str, Any]:
    """A node as plain values."""
    schema = cls.define_schema()
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "aliases": schema.search_aliases,
        "category": schema.category,
        "inputs": [
            {
                "id": i.id,
                "optional": bool(i.optional),
                "default": getattr(i, "default", None),
                "tooltip": i.tooltip,
                "nested": [[n.id, n.tooltip] for n in i.get_all()[1:]] if hasattr(i, "get_all") else [],
                "options": [getattr(option, "key", option) for option in getattr(i, "options", None) or []],
                "placeholder": getattr(i, "placeholder", None) or "",
            }
            for i in schema.inputs
        ],
        "outputs": [[o.display_name, o.tooltip] for o in schema.outputs],
        "parameters": [
            {"name": p.name, "required": p.default is p.empty, "default": None if p.default is p.empty else p.default}
            for p in inspect.signature(cls.execute).parameters.values()
        ],
        "execute_lines": body_lines(cls.execute),
    }


before = set(sys.modules)
pack, seconds = bring_up.load_pack(Path(sys.argv[1]))
new = {name.partition(".")[0] for name in set(sys.modules) - before if not bring_up.part_of(pack, name)}
report = {
    "seconds": seconds,
    "foreign modules": sorted(new - set(sys.stdlib_module_names)),
    "inner": [cls.define_schema().node_id for cls in pack.nodes.INNER],
    "nodes": {cls.define_schema().node_id: describe(cls) for cls in pack.nodes.NODES},
}
print(json.dumps(report))
