"""Servers in a graph: IAA Remote Loader feeds the nodes that IAA Loader feeds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client, Graph, PromptError, node
from llama_server import LLAMA_CPPS
from llama_server import serving as serving_llama_cpp
from model_server import BOX, ModelServer, refuses, says, serving, stalls
from vllm_server import needs_vllm
from vllm_server import serving as serving_vllm

from iaa_runtime import IAAPipeline
from iaa_runtime.boxes.geometry import Box, iou
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.export import export
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene


@pytest.fixture
def models() -> Iterator[ModelServer]:
    """Serves all three tasks."""
    with serving("iaa-mm", "iaa-g", "iaa-text") as started:
        yield started


def graph(address: str, asks: dict[str, Any], count: int = 1, **loader: Any) -> Graph:
    """A node that asks, fed by servers."""
    return {
        "scene": node("IAA_DemoScene", seed=1, width=96, height=64, count=count),
        "loader": node("IAA_RemoteLoader", servers=address, **loader),
        "ask": asks | {"inputs": asks["inputs"] | {"model": ["loader", 0]}},
    }


def caption(**inputs: Any) -> dict[str, Any]:
    return node("IAA_Caption", image=["scene", 0], **inputs)


def test_captions_with_progress_and_live_text(client: Client, models: ModelServer) -> None:
    def answer(exchange: Any, body: dict[str, Any]) -> None:
        says(*(f"word {n} " for n in range(8)), slowly=0.05)(exchange, body)

    models.behaves(answer)
    run = client.run(graph(models.url, caption(max_new_tokens=16), count=12, concurrency=4))
    assert run.status == "success", run.error
    text = " ".join(f"word {n}" for n in range(8))
    assert run.outputs["ask"]["text"] == [text] * 12
    assert models.most == 4
    values = [d["value"] for d in run.of("progress") if d["node"] == "ask"]
    assert len(values) > 3 and values == sorted(values)
    assert any(text.startswith(shown.split("\n")[0]) for _, shown in run.texts)
    again = client.run(graph(models.url, caption(max_new_tokens=16), count=12, concurrency=4))
    assert "ask" in again.cached and len(models.bodies) == 12, "what was asked once is remembered"


def test_a_list_of_pictures_is_answered_several_at_a_time(client: Client, models: ModelServer) -> None:
    """With one bar and one file of texts, like a batch; each picture keeps its own question."""

    def answer(exchange: Any, body: dict[str, Any]) -> None:
        said = [part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text"]
        says(f"{said[0]} ", "Yes.", slowly=0.05)(exchange, body)

    models.behaves(answer)
    asks = caption(preset="question", prompt="Is it {index}?")
    asks["inputs"]["image"] = ["listed", 0]
    asked = graph(models.url, asks, count=12, concurrency=4)
    asked["listed"] = node("RebatchImages", images=["scene", 0], batch_size=1)
    run = client.run(asked)
    assert run.status == "success", run.error
    shown = run.outputs["ask"]
    assert shown["text"] == [f"Is it {number}? Yes." for number in range(1, 13)]
    assert models.most == 4
    assert len(shown["files"]) == 1
    values = [d["value"] for d in run.of("progress") if d["node"] == "ask"]
    assert len(values) > 2 and values == sorted(values)


def test_boxes_text_and_chat(client: Client, models: ModelServer) -> None:
    models.behaves(says(*BOX))
    run = client.run(graph(models.url, node("IAA_Ground", image=["scene", 0], phrases="a star\na ring")))
    assert run.status == "success", run.error
    assert [body["model"] for body in models.bodies] == ["iaa-g"] * 2
    models.behaves(says("Right."))
    run = client.run(graph(models.url, node("IAA_Text", prompt="The opposite of left?")))
    assert run.outputs["ask"]["text"] == ["Right."]
    run = client.run(graph(models.url, node("IAA_Chat", message="And of right?", image=["scene", 0])))
    assert run.outputs["ask"]["text"] == ["Right."]


def test_more_things_are_labelled_than_the_bar_expected(client: Client, models: ModelServer) -> None:
    names = [f"thing {n}, " for n in range(20)]

    def answer(exchange: Any, body: dict[str, Any]) -> None:
        says(*(BOX if body["model"] == "iaa-g" else names))(exchange, body)

    models.behaves(answer)
    run = client.run(graph(models.url, node("IAA_LabelImage", image=["scene", 0], threshold=0.0), count=2))
    assert run.status == "success", run.error
    assert [body["model"] for body in models.bodies].count("iaa-g") == 2 * len(names)
    values = [d["value"] for d in run.of("progress") if d["node"] == "ask"]
    assert values == sorted(values)


def test_cancel_ends_the_wait_and_the_servers_work(client: Client, models: ModelServer) -> None:
    models.behaves(stalls("word"))
    started: list[float] = []

    def cancel(kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data["node"] == "ask":
            while not models.bodies:
                time.sleep(0.01)
            started.append(time.monotonic())
            client.interrupt()

    run = client.run(graph(models.url, caption()), cancel)
    assert run.status == "interrupted"
    assert time.monotonic() - started[0] < 2
    assert models.hung_up.wait(2)


def test_an_error_is_never_a_caption(client: Client, models: ModelServer) -> None:
    models.behaves(refuses(400, '{"error": {"message": "no such thing"}}'))
    run = client.run(graph(models.url, caption()))
    assert run.status == "error" and "no such thing" in run.error
    assert "ask" not in run.outputs
    models.behaves(refuses(403, "<html>the intranet</html>"))
    run = client.run(graph(models.url, caption()))
    assert run.status == "error" and "status 403" in run.error and "intranet" not in run.error
    run = client.run(graph("http://127.0.0.1:9", caption()))
    assert run.status == "error" and "Is it up" in run.error


@pytest.mark.parametrize("servers", ["", "example.org", "http://me:secret@example.org"])
def test_addresses_are_checked_before_anything_runs(client: Client, servers: str) -> None:
    with pytest.raises(PromptError) as refused:
        client.run(graph(servers, caption()))
    assert any("address" in said or "empty" in said for said in refused.value.details)


def found_here(pipeline: IAAPipeline, side: int, aspect: float) -> list[tuple[int, str, Box, float]]:
    """Shapes of scenes that a model finds: seed, phrase, where it is, and score."""
    found = []
    for seed in range(20):
        scene = make_scene(EVALUATION_SEED + seed, long_side=side, aspect=aspect)
        kinds = [(shape.color, shape.kind) for shape in scene.shapes]
        alone = [shape for shape in scene.shapes if kinds.count((shape.color, shape.kind)) == 1]
        phrases = [f"the {shape.color} {shape.kind}" for shape in alone]
        (answers,) = pipeline.ground_answers(draw_scene(scene), phrases, several=False) if phrases else ([],)
        for shape, answer in zip(alone, answers, strict=True):
            if answer.detections and iou(answer.detections[0].xyxy, shape.box) >= 0.6:
                found.append((seed, answer.phrase, shape.box, answer.detections[0].score))
    assert len(found) >= 3, "the demo model finds nothing: there is nothing to compare"
    return found


@contextmanager
def served(engine: str, folder: Path) -> Iterator[str]:
    """The demo model's G in an engine."""
    checkpoint = Checkpoint(DEMO_CHECKPOINT)
    if engine == "vllm":
        with serving_vllm(export(checkpoint, "G", folder / "iaa-g"), folder / "vllm.log") as address:
            yield address
    else:
        with serving_llama_cpp(export_gguf(checkpoint, "G", folder / "iaa-g", "f16"), "mmproj", engine) as address:
            yield address


@pytest.mark.slow
@pytest.mark.parametrize("engine", [pytest.param("vllm", marks=needs_vllm), *LLAMA_CPPS])
def test_another_engine_grounds_a_scene(client: Client, tmp_path: Path, engine: str) -> None:
    """The demo checkpoint served by it: what it finds here it finds there, and puts where the shape is."""
    side, aspect = 224, 1.4
    expected = found_here(IAAPipeline.from_pretrained(), side, aspect)
    with served(engine, tmp_path) as address:
        for seed, phrase, box, score in expected[:8]:
            grounds = node("IAA_Ground", image=["scene", 0], phrases=phrase, several=False)
            asked = graph(address, grounds)
            asked["scene"] = node("IAA_DemoScene", seed=seed, width=side, height=round(side / aspect))
            asked["show"] = node("PreviewAny", source=["ask", 3])
            run = client.run(asked)
            assert run.status == "success", run.error
            ((found,),) = json.loads(run.outputs["show"]["text"][0])
            place = found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]
            assert iou(place, box) >= 0.5, (seed, phrase, found, box)
            assert found["score"] == pytest.approx(score, rel=0.02), "of the same definition"
