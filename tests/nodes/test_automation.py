"""What docs/automation.md tells people to run, run as it stands against the server of the tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_server import Client

PROJECT = Path(__file__).parents[2]


def block(language: str, number: int = 0) -> str:
    """A fenced block of the page."""
    page = (PROJECT / "docs" / "automation.md").read_text(encoding="utf-8")
    return str(re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[number])


def run(command: list[str]) -> str:
    """What a command prints, from the project's folder as the page expects."""
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python(client: Client) -> None:
    script = block("python").replace("127.0.0.1:8188", client.address)
    lines = run([sys.executable, "-c", script]).splitlines()
    assert lines and all(re.fullmatch(r"the green ring \d+ \d+ \d+ \d+ [01]\.\d+", line) for line in lines)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl and jq are not both installed")
def test_curl(client: Client) -> None:
    post, history = block("bash", 1).replace("127.0.0.1:8188", client.address).splitlines()
    queued = json.loads(run(["sh", "-c", post]))
    assert queued["prompt_id"] and not queued["node_errors"]
    boxes = ""
    for _ in range(200):
        boxes = run(["sh", "-c", history.replace("PROMPT_ID", queued["prompt_id"])])
        if boxes:
            break
    assert {box["label"] for box in json.loads(boxes)[0]} == {"the green ring", "the yellow triangle"}


@pytest.mark.skipif(not shutil.which("comfy"), reason="comfy-cli is not installed")
def test_comfy_cli(client: Client) -> None:
    host, port = client.address.split(":")
    command = block("bash", 0).splitlines()[1].replace("127.0.0.1", host).replace("8188", port)
    answer = json.loads(run(["sh", "-c", command]).splitlines()[-1])
    assert answer["ok"] and set(answer["data"]["outputs_by_node"]) >= {"5", "9", "10"}
