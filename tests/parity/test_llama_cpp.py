"""GGUF files in llama.cpp, asked by our remote pipeline through both of its servers."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from llama_server import LLAMA_CPPS, serving

from iaa_runtime import IAAPipeline, RemotePipeline
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.errors import ContextLengthError, RemoteError
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.shapes.language import expression
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.shapes.text_questions import text_question

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("server", LLAMA_CPPS)]
COUNT = 20
BOXES = 100
"""So many that the odd tie, such as two shapes equally far to the right, does not decide."""


@pytest.fixture(scope="module")
def local() -> IAAPipeline:
    """The demo model here, exactly."""
    return IAAPipeline.from_pretrained(device="cpu", dtype="float32")


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_text_is_word_for_word_ours(local: IAAPipeline, tmp_path: Path, kind: str, server: str) -> None:
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "Text", tmp_path / "out", kind)
    rng = random.Random(50)
    with serving(folder, server=server) as address:
        remote = RemotePipeline.connect([address])
        for question in [text_question(rng).question for _ in range(COUNT)]:
            assert remote.text(question) == local.text(question)
        for choices in (["up", "right"], ['a "quoted" word', "right", "no idea"]):
            (here,), (there,) = (
                pipeline.choose(None, "What is the opposite of left?", choices) for pipeline in (local, remote)
            )
            assert there.probabilities == pytest.approx(here.probabilities, abs=0.02)


@pytest.mark.parametrize("square", [False, True], ids=["as drawn", "square"])
def test_captions_are_mostly_ours(local: IAAPipeline, tmp_path: Path, square: bool, server: str) -> None:
    """Square pictures have no border, whose first patch the tower's file makes use of."""
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "MM", tmp_path / "out", "f16")
    scenes = [make_scene(990_000 + seed) for seed in range(COUNT)]
    if square:
        scenes = [replace(scene, width=scene.long_side, height=scene.long_side) for scene in scenes]
    with serving(folder, "mmproj", server) as address:
        remote = RemotePipeline.connect([address], concurrency=1)
        same = [remote.caption(picture) == local.caption(picture) for picture in map(draw_scene, scenes)]
    assert sum(same) >= 0.9 * COUNT


@pytest.mark.parametrize(("kind", "least"), [("f16", 0.9), ("q8_0", 0.8)])
def test_boxes_are_ours(local: IAAPipeline, tmp_path: Path, kind: str, least: float, server: str) -> None:
    """Of what is there once; IoU to ours."""
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "G", tmp_path / "out", kind)
    rng, overlaps = random.Random(50), []
    with serving(folder, "mmproj", server) as address:
        remote = RemotePipeline.connect([address], concurrency=1)
        for seed in range(BOXES):
            scene = make_scene(990_000 + seed)
            made = expression(scene, rng, ("plain", "bare", "extreme", "relation"))
            here, there = (pipeline.ground(draw_scene(scene), [made.phrase])[0] for pipeline in (local, remote))
            if len(made.targets) == len(here) == 1:
                overlaps.append(max((iou(here[0].xyxy, found.xyxy) for found in there), default=0.0))
    assert sum(overlap >= least for overlap in overlaps) >= 0.95 * len(overlaps) > 0.7 * BOXES


def test_the_wrong_file_of_the_tower_is_found_out(tmp_path: Path, server: str) -> None:
    """One of the two is refused, the other is not, whichever build this is."""
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "G", tmp_path / "out", "f16")
    picture, refused = draw_scene(make_scene(990_000)), []
    for eye in ("mmproj", "mmproj-fixed"):
        with serving(folder, eye, server) as address:
            remote = RemotePipeline.connect([address])
            try:
                remote.ground(picture, ["the circle"])
            except RemoteError as error:
                assert "mmproj" in str(error)
                refused.append(eye)
    assert len(refused) == 1


def test_what_these_servers_want_otherwise(tmp_path: Path, server: str) -> None:
    """Boxes by the grammar, of a model that has none to say; settings of sampling; a prompt that is too long."""
    folder = export_gguf(Checkpoint(DEMO_CHECKPOINT), "MM", tmp_path / "out", "f16")
    picture = draw_scene(make_scene(990_000))
    with serving(folder, "mmproj", server) as address:
        boxes = RemotePipeline.connect([f"G={address}"]).ground(picture, ["the circle"], several=False, threshold=0)[0]
        assert [box.score for box in boxes] == [0]
        remote = RemotePipeline.connect([address])
        settings = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 1.3}
        same, again, other = (remote.caption(picture, **settings, seed=seed, top_k=0) for seed in (1, 1, 2))
        assert same == again != other
        assert remote.caption(picture, **settings, top_k=1) == remote.caption(picture, repetition_penalty=1.3)
        if server == "llama-server":  # the other one's answer breaks off
            with pytest.raises(ContextLengthError):
                remote.caption(picture, "word " * 5000)
