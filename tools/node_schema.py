"""Prints what a node's schema has, as JSON, or null where NODES has no such node; runs in ComfyUI's Python.

Words are not looked up: a node that lacks some could not be loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

folder, name = Path(sys.argv[1]), sys.argv[2]
sys.path.append(str(folder / "tests" / "nodes" / "inside"))

import bring_up  # noqa: E402, F401 - brings ComfyUI up


def schema_of(cls: Any) -> dict[str, Any]:
    """Names of inputs as locales have them (those of a group behind it), without those of groups, and of outputs."""
    schema = cls.__dict__["define_schema"].__func__.__wrapped__(cls)
    names = {}
    for declared in schema.inputs:
        names[declared.id] = declared.id
        for nested in declared.get_all()[1:] if hasattr(declared, "options") else []:
            names[f"{declared.id}_{nested.id}"] = nested.id
    outputs = {str(number): output.id or "" for number, output in enumerate(schema.outputs)}
    return {
        "inputs": list(names),
        "sockets": [declared.id for declared in schema.inputs],
        "outputs": list(outputs),
        "names": names | outputs,
    }


spec = importlib.util.spec_from_file_location("pack", folder / "__init__.py", submodule_search_locations=[str(folder)])
assert spec and spec.loader
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
found = [cls for cls in importlib.import_module("pack.nodes").NODES if cls.__name__ == name]
print(json.dumps(schema_of(found[0]) if found else None))
