"""Outlines what a node needs: its file, its words in every language, its help pages.

    python -m tools.new_node ShiftBoxes

The first time, it writes nodes/shift_boxes.py. Make a node of it and add it to NODES in nodes/__init__.py. From then
on it brings the words up to the node's schema: what is missing is outlined, what is there stays. Outlines are empty;
tests/nodes/test_texts.py says what still has to be written. It needs a ComfyUI, as that test does.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
sys.path.append(str(PROJECT / "tests"))

from comfyui_server import find_comfyui, run_inside  # noqa: E402

HEADINGS = {"en": ("How to use it", "Inputs", "Outputs", ": "), "zh": ("用法", "输入", "输出", "：")}
"""Of help pages, and what stands between a name and what is said of it."""

NODE = '''"""IAA {title}: ."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from .inputs import Node
from .options import CATEGORY


class {name}(Node):
    """."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_{name}",
            category=CATEGORY,
            search_aliases=[],
            inputs=[io.Image.Input("image")],
            outputs=[io.Image.Output("image")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor) -> io.NodeOutput:
        """."""
        return io.NodeOutput(image)
'''


def outlined(words: dict[str, Any], schema: dict[str, Any], title: str) -> dict[str, Any]:
    """A node's words in one language, with everything that its schema has, in its order; new texts are empty."""

    def each(kind: str, names: list[str]) -> dict[str, Any]:
        there = words.get(kind, {})
        return {name: there.get(name, {"name": schema["names"].get(name, ""), "tooltip": ""}) for name in names}

    about = {"display_name": words.get("display_name", title), "description": words.get("description", "")}
    return about | {"inputs": each("inputs", schema["inputs"]), "outputs": each("outputs", schema["outputs"])}


def page(words: dict[str, Any], schema: dict[str, Any], language: str) -> str:
    """A help page without anything said on it."""
    usage, inputs, outputs, colon = HEADINGS[language]

    def items(kind: str, names: list[str]) -> str:
        return "".join(f"- **{words[kind][name]['name']}**{colon}\n" for name in names)

    given = outputs.removesuffix("s") if len(schema["outputs"]) == 1 else outputs
    return (
        f"# {words['display_name']}\n\n\n\n## {usage}\n\n1. \n\n"
        f"## {inputs}\n\n{items('inputs', schema['sockets'])}\n## {given}\n\n{items('outputs', schema['outputs'])}"
    )


def main() -> int:
    """Returns 0; what it cannot go on without ends it with 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the node's class, such as ShiftBoxes; its id is IAA_ShiftBoxes")
    name: str = parser.parse_args().name
    if not re.fullmatch(r"([A-Z][a-z0-9]*)+", name):
        parser.error(f"{name} is no name of a class. Write it as in ShiftBoxes.")
    title = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    if not any(f"class {name}(" in file.read_text(encoding="utf-8") for file in (PROJECT / "nodes").glob("*.py")):
        module = title.lower().replace(" ", "_")
        with (PROJECT / "nodes" / f"{module}.py").open("x", encoding="utf-8") as file:
            file.write(NODE.format(name=name, title=title))
        print(f"Wrote nodes/{module}.py. Make a node of it, add it to NODES in nodes/__init__.py, and run this again.")
        return 0
    comfyui = find_comfyui(PROJECT)
    if comfyui is None:
        parser.error("there is no ComfyUI. Set COMFYUI_PATH to one that can run.")
    schema = run_inside(comfyui, Path(__file__).parent / "node_schema.py", str(PROJECT), name)
    if schema is None:
        parser.error(f"NODES in nodes/__init__.py lacks {name}: import it there, and add it.")
    for language in HEADINGS:
        _outline(schema, f"IAA_{name}", f"IAA {title}", language)
    print("Fill them in; pytest tests/nodes/test_texts.py says what is missing.")
    return 0


def _outline(schema: dict[str, Any], node: str, title: str, language: str) -> None:
    file = PROJECT / "locales" / language / "nodeDefs.json"
    every = json.loads(file.read_text(encoding="utf-8"))
    before = every.get(node, {})
    every[node] = outlined(before, schema, title)
    if every[node] != before:
        file.write_text(json.dumps(every, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        print(f"Outlined {node} in {file.relative_to(PROJECT)}.")
    for kind in ("inputs", "outputs"):
        for gone in set(before.get(kind, ())) - set(every[node][kind]):
            print(f"Took {kind[:-1]} {gone} out of it: {before[kind][gone]}")
    help_page = PROJECT / "web" / "docs" / node / f"{language}.md"
    if not help_page.exists():
        help_page.parent.mkdir(parents=True, exist_ok=True)
        help_page.write_text(page(every[node], schema, language), encoding="utf-8")
        print(f"Outlined {help_page.relative_to(PROJECT)}.")


if __name__ == "__main__":
    sys.exit(main())
