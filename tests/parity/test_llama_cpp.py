"""GGUF files in llama.cpp, asked by our remote pipeline through the server of llama-cpp-python."""

from __future__ import annotations

import importlib.util
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iaa_runtime import IAAPipeline, RemotePipeline
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.errors import RemoteError
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.shapes.language import expression
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.shapes.text_questions import text_question

PACKAGES = ("gguf", "llama_cpp", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing),
        reason=f"NO LLAMA.CPP: GGUF files are not run. Lacking: {', '.join(missing)}. "
        "pip install 'llama-cpp-python[server]' gguf",
    ),
]
START_SECONDS = 120
COUNT = 20


@contextmanager
def serving(folder: Path, eye: str | None = None) -> Iterator[str]:
    """Serves a folder's model, with the tower's file whose name begins so; gives the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (model,) = folder.glob("iaa-*.gguf")
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--port", str(port), "--n_ctx", "2048"]
    if eye is not None:
        (tower,) = folder.glob(f"{eye}-iaa-*.gguf")
        command += ["--clip_model_path", str(tower), "--chat_format", "mtmd"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(START_SECONDS):
                assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).close()
                    break
                except OSError:
                    time.sleep(1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def local() -> IAAPipeline:
    """The demo model here, exactly."""
    return IAAPipeline.from_pretrained(device="cpu", dtype="float32")


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_text_is_word_for_word_ours(local: IAAPipeline, tmp_path: Path, kind: str) -> None:
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "Text", tmp_path / "out", kind)
    rng = random.Random(50)
    with serving(folder) as address:
        remote = RemotePipeline.connect([address])
        for question in [text_question(rng).question for _ in range(COUNT)]:
            assert remote.text(question) == local.text(question)
        for choices in (["up", "right"], ['a "quoted" word', "right", "no idea"]):
            (here,), (there,) = (
                pipeline.choose(None, "What is the opposite of left?", choices) for pipeline in (local, remote)
            )
            assert there.probabilities == pytest.approx(here.probabilities, abs=0.02)


def test_captions_are_mostly_ours(local: IAAPipeline, tmp_path: Path) -> None:
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "MM", tmp_path / "out", "f16")
    pictures = [draw_scene(make_scene(990_000 + seed)) for seed in range(COUNT)]
    with serving(folder, "mmproj") as address:
        remote = RemotePipeline.connect([address], concurrency=1)
        same = [remote.caption(picture) == local.caption(picture) for picture in pictures]
    assert sum(same) >= 0.9 * COUNT


@pytest.mark.parametrize(("kind", "least"), [("f16", 0.9), ("q8_0", 0.8)])
def test_boxes_are_ours(local: IAAPipeline, tmp_path: Path, kind: str, least: float) -> None:
    """Of what is there once; IoU to ours."""
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "G", tmp_path / "out", kind)
    rng, overlaps = random.Random(50), []
    with serving(folder, "mmproj") as address:
        remote = RemotePipeline.connect([address], concurrency=1)
        for seed in range(COUNT):
            scene = make_scene(990_000 + seed)
            phrase = expression(scene, rng, ("plain", "bare", "extreme", "relation")).phrase
            here, there = (pipeline.ground(draw_scene(scene), [phrase])[0] for pipeline in (local, remote))
            if len(here) == 1:
                overlaps.append(max((iou(here[0].xyxy, found.xyxy) for found in there), default=0.0))
    assert sum(overlap >= least for overlap in overlaps) >= 0.95 * len(overlaps) > 0.7 * COUNT


def test_the_wrong_file_of_the_tower_is_found_out(tmp_path: Path) -> None:
    """One of the two is refused, the other is not, whichever build this is."""
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "G", tmp_path / "out", "f16")
    picture, refused = draw_scene(make_scene(990_000)), []
    for eye in ("mmproj", "mmproj-fixed"):
        with serving(folder, eye) as address:
            remote = RemotePipeline.connect([address])
            try:
                remote.ground(picture, ["the circle"])
            except RemoteError as error:
                assert "mmproj" in str(error)
                refused.append(eye)
    assert len(refused) == 1
