"""What docs/automation.md tells people to run, run as it stands against the server of the tests."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client
from PIL import Image

from iaa_runtime.shapes.scenes import draw_scene, make_scene

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


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")), reason="NOT TESTED: curl and jq are not both installed"
)
def test_curl(client: Client) -> None:
    post, history = block("bash", 2).replace("127.0.0.1:8188", client.address).splitlines()
    queued = json.loads(run(["sh", "-c", post]))
    assert queued["prompt_id"] and not queued["node_errors"]
    boxes = ""
    for _ in range(200):
        boxes = run(["sh", "-c", history.replace("PROMPT_ID", queued["prompt_id"])])
        if boxes:
            break
    assert {box["label"] for box in json.loads(boxes)[0]} == {"the green ring", "the yellow triangle"}


@pytest.mark.skipif(not shutil.which("comfy"), reason="NOT TESTED: comfy-cli is not installed")
def test_comfy_cli(client: Client) -> None:
    host, port = client.address.split(":")
    _, comfy, job = block("bash", 1).splitlines()
    answer = json.loads(run(["sh", "-c", comfy.replace("127.0.0.1", host).replace("8188", port)]).splitlines()[-1])
    assert answer["ok"] and set(answer["data"]["outputs_by_node"]) == {"3", "5", "9"}
    words = job.split()[1:-1]
    again = json.loads(run([sys.executable, *words, answer["data"]["prompt_id"], "--server", client.address]))
    assert again["outputs_by_node"] == answer["data"]["outputs_by_node"]
    assert {box["label"] for box in again["boxes_by_node"]["3"][0]} == {"the green ring", "the yellow triangle"}


def run_client(client: Client, *words: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """The lines of JSON that docs/client.py prints, and what it says on stderr."""
    command = [sys.executable, "docs/client.py", *words, "--server", client.address]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_the_client_runs_a_folder_and_goes_on(client: Client, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "found.jsonl"
    (photos / "sub").mkdir(parents=True)
    for seed, name in ((34, "a.png"), (35, 'sub/b "quoted".png')):
        draw_scene(make_scene(seed)).save(photos / name)
    (photos / "c.png").write_text("no picture")
    words = shlex.split(block("bash").splitlines()[1])[2:]  # behind: python docs/client.py
    words = [str({"my_photos": photos, "found.jsonl": out}.get(word, word)) for word in words]
    _, err = run_client(client, *words, code=1)
    assert "Node 1 (LoadImage): cannot identify image file" in err
    lines = {Path(line["image"]).name[0]: line for line in map(json.loads, out.read_text("utf-8").splitlines())}
    assert set(lines) == {"a", "b", "c"} and set(lines["c"]) == {"image", "graph", "error"}
    shown = re.search(r"```json\n(.*?)\n```", (PROJECT / "docs" / "automation.md").read_text(encoding="utf-8"))
    assert shown and list(json.loads(shown[1])) == list(lines["a"]), "the page shows such a line"
    assert all(box["label"] == "the dog" for box in lines["a"]["boxes_by_node"]["3"][0])
    with urllib.request.urlopen(lines["b"]["outputs_by_node"]["4"][0]) as picture:
        assert Image.open(picture).size == draw_scene(make_scene(35)).size
    draw_scene(make_scene(36)).save(photos / "c.png")
    _, err = run_client(client, *words)
    assert "2 pictures have answers" in err and "1 of 1" in err
    _, err = run_client(client, *words)
    assert "3 pictures have answers" in err and "1 of" not in err
    _, err = run_client(client, *words, "--set", "3.phrases=the cat")
    assert "have answers" not in err and "3 of 3" in err, "answers to something else"


def test_the_client_says_what_is_wrong_in_a_sentence(client: Client, tmp_path: Path) -> None:
    graph = "workflows/api/ground.json"
    _, err = run_client(client, graph, "--set", "3.phrases=", "--set", "3.masks=5", code=1)
    assert "Node 3 (IAA_Ground): 'phrases' is empty. Type what to find" in err and "Traceback" not in err
    assert "Node 3 (IAA_Ground): Value not in list: masks: 5" in err
    _, err = run_client(client, graph, "--set", "30.phrases=", code=1)
    assert "no such node" in err
    _, err = run_client(client, graph, "--set", "3.phrase=the cat", code=1)
    assert "IAA_Ground has no input 'phrase'" in err
    _, err = run_client(client, "workflows/Find things in a picture.json", code=1)
    assert "is no graph in API format" in err and "workflows/api" in err
    _, err = run_client(client, "workflows/api/prompt_expansion.json", str(tmp_path / "a.png"), code=1)
    assert "no place for a picture" in err
    away = Client("127.0.0.1:9")
    _, err = run_client(away, graph, code=1)
    assert "No ComfyUI answers at http://127.0.0.1:9" in err


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are of Linux and macOS")
def test_the_client_shows_text_as_it_is_written_and_ctrl_c_cancels_the_run(client: Client, tmp_path: Path) -> None:
    from terminal import terminal

    draw_scene(make_scene(1)).save(tmp_path / "a.png")
    command = [sys.executable, "docs/client.py", "workflows/api/caption.json", str(tmp_path / "a.png")]
    command += ["--set", "2.checkpoint=sub/tiny", "--set", "3.max_new_tokens=4096", "--server", client.address]
    with terminal(command, {"COLUMNS": "400"}, PROJECT) as shown:
        while not re.search(r"IAA_Caption +\d+%  \S", shown.shown):  # the beginning of an answer
            shown.wait_for("IAA_Caption")
        shown.interrupt("Cancelled.")
        assert shown.end() == 130
    newest = json.loads(client.get("/api/jobs", limit="1"))["jobs"][0]["id"]
    deadline = time.monotonic() + 60
    while (status := client.get_json(f"/api/jobs/{newest}")["status"]) == "in_progress" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert status == "cancelled"
