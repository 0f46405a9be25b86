"""A node from its first outline to the list of what is still to be written."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SCHEMA = """inputs=[
                io.Image.Input("image"),
                io.DynamicCombo.Input("unit", options=[io.DynamicCombo.Option("own", inputs=[io.Int.Input("by")])]),
            ]"""
ENGLISH = """# IAA Shift Boxes



## How to use it

1. x

## Inputs

- **image**: x
- **unit**: x

## Output

- **image**: x
""".replace("x\n", "\n")


def test_a_new_node_is_outlined(comfyui: Path, project: Path, tmp_path: Path) -> None:
    for name in ("iaa_runtime", "tests", "__init__.py"):
        (tmp_path / name).symlink_to(project / name)
    for name in ("nodes", "locales", "tools", "web/docs"):
        shutil.copytree(project / name, tmp_path / name)

    def outline() -> str:
        command = [sys.executable, "-m", "tools.new_node", "ShiftBoxes"]
        environment = os.environ | {"COMFYUI_PATH": str(comfyui), "PYTHONPATH": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    file, nodes = tmp_path / "nodes" / "shift_boxes.py", tmp_path / "nodes" / "__init__.py"
    assert "Wrote nodes/shift_boxes.py" in outline()
    file.write_text(file.read_text().replace('inputs=[io.Image.Input("image")]', SCHEMA))
    nodes.write_text(nodes.read_text() + "from .shift_boxes import ShiftBoxes\nNODES.append(ShiftBoxes)\n")
    assert outline().count("Outlined") == 4
    for language in ("en", "zh"):
        place = Path("locales", language, "nodeDefs.json")
        words = json.loads((tmp_path / place).read_text(encoding="utf-8"))
        inputs = words.pop("IAA_ShiftBoxes")["inputs"]
        assert words == json.loads((project / place).read_text(encoding="utf-8"))
        names = {name: (part["name"], part["tooltip"]) for name, part in inputs.items()}
        assert names == {"image": ("image", ""), "unit": ("unit", ""), "unit_by": ("by", "")}
    assert (tmp_path / "web" / "docs" / "IAA_ShiftBoxes" / "en.md").read_text() == ENGLISH


def test_what_is_written_stays(project: Path) -> None:
    spec = importlib.util.spec_from_file_location("new_node", project / "tools" / "new_node.py")
    assert spec and spec.loader
    new_node = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(new_node)
    said = {"name": "the image", "tooltip": "What."}
    words = {"display_name": "A", "description": "B", "inputs": {"gone": said, "image": said}, "outputs": {}}
    schema = {"inputs": ["new", "image"], "outputs": ["0"], "names": {"new": "new", "0": "mask"}}
    assert list(new_node.outlined(words, schema, "title").items()) == [
        ("display_name", "A"),
        ("description", "B"),
        ("inputs", {"new": {"name": "new", "tooltip": ""}, "image": said}),
        ("outputs", {"0": {"name": "mask", "tooltip": ""}}),
    ]
