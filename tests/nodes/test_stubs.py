"""What mypy is told of ComfyUI is so, and with it finds what is wrong in a node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_server import run_inside

INSIDE = Path(__file__).parent / "inside"
WRONG = """
from comfy_api.latest import io

class Wrong(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        io.Bolean.Input("a", default=True)
        io.Int.Input("a", default=0.5)
        io.Image.Input("a", optinal=True)
        return io.NodeOutput(1)
"""


def test_stubs_say_what_comfyui_has(comfyui: Path, project: Path) -> None:
    assert run_inside(comfyui, INSIDE / "stubs.py", str(project / ".ci" / "stubs")) == []


def test_mypy_finds_what_is_wrong_in_a_node(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nstrict = true\nmypy_path = {project}/.ci/stubs\n[mypy-torch.*]\nfollow_imports = skip\n"
    )
    command = [sys.executable, "-m", "mypy", "wrong.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert [line.split(":")[1] for line in said.splitlines() if ": error:" in line] == ["7", "8", "9", "10"], said
