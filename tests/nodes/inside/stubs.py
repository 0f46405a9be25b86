"""Whether ComfyUI has all that .ci/stubs says of it: modules, classes, methods and the names of their parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bring_up  # noqa: F401 - brings ComfyUI up

STUBS = Path(sys.argv[1])


def differences(body: list[ast.stmt], there: Any, name: str) -> Iterator[str]:
    """What a module or class lacks of what its stub declares."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name != "__getattr__":
            own = f"{name}.{node.name}"
            found = inspect.getattr_static(there, node.name, None)
            if found is None:
                yield f"{own} is missing"
            elif isinstance(node, ast.ClassDef):
                yield from differences(node.body, found, own)
            elif not isinstance(found, property):
                yield from _parameters(node, found, own)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, found: Any, name: str) -> Iterator[str]:
    taken = inspect.signature(getattr(found, "__func__", found)).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in taken):
        given = {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
        yield from (f"{name} takes no {lacking}" for lacking in sorted(given - {p.name for p in taken}))


report = []
for path in sorted(STUBS.rglob("*.pyi")):
    parts = path.relative_to(STUBS).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    try:
        there = importlib.import_module(module)
    except ModuleNotFoundError:  # io and ui are names in a package
        parent, _, last = module.rpartition(".")
        there = getattr(importlib.import_module(parent), last)
    report += differences(ast.parse(path.read_text(encoding="utf-8")).body, there, module)
print(json.dumps(report))
