"""GGUF files in llama.cpp, asked by our remote pipeline through the server of llama-cpp-python."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from llama_server import needs_llama_cpp, serving

from iaa_runtime import IAAPipeline, RemotePipeline
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.errors import RemoteError
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.shapes.language import expression
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.shapes.text_questions import text_question

pytestmark = [pytest.mark.slow, needs_llama_cpp]
COUNT = 20


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
