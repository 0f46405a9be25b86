"""Caching, progress, live text and Cancel on a running ComfyUI."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import websocket
from comfyui_server import Client, Graph, PromptError, node, run_inside

INSIDE = Path(__file__).parent / "inside"
TINY = "sub/tiny"


def caption_graph(checkpoint: str, **inputs: Any) -> Graph:
    """A caption of a small scene."""
    return {
        "scene": node("IAA_DemoScene", seed=1, width=96, height=64),
        "loader": node("IAA_Loader", checkpoint=checkpoint),
        "caption": node("IAA_Caption", model=["loader", 0], image=["scene", 0], **inputs),
    }


def ground_graph(count: int, phrases: str, checkpoint: str = TINY, **inputs: Any) -> Graph:
    """Phrases in a batch of small scenes."""
    return {
        "scene": node("IAA_DemoScene", seed=1, width=96, height=64, count=count),
        "loader": node("IAA_Loader", checkpoint=checkpoint),
        "ground": node("IAA_Ground", model=["loader", 0], image=["scene", 0], phrases=phrases, **inputs),
    }


def random_sampling(seed: int) -> dict[str, Any]:
    """Inputs that draw words at random."""
    return {"sampling": "random", "sampling__temperature": 1.0, "sampling__seed": seed}


def test_a_second_run_does_not_call_the_model(client: Client) -> None:
    graph = ground_graph(1, "the star")
    first, second = client.run(graph), client.run(graph)
    assert first.status == second.status == "success"
    assert "ground" in first.executed
    assert second.cached == set(graph) and second.executed == set()
    assert second.outputs["ground"] == first.outputs["ground"], "remembered results are shown again"
    graph["ground"]["inputs"]["phrases"] = "the ring"
    third = client.run(graph)
    assert third.executed == {"ground"}, "a new phrase asks the model, and loads nothing"


def test_equal_nodes_share_one_answer_and_both_show_it(client: Client) -> None:
    """ComfyUI asks the model once for both; that needs no ``not_idempotent``, since answers depend on inputs alone."""
    client.free()
    graph = caption_graph(TINY, max_new_tokens=4)
    graph["again"] = graph["caption"]
    run = client.run(graph)
    assert len({"caption", "again"} & {name for name, _ in run.texts}) == 1
    assert run.outputs["caption"]["text"] == run.outputs["again"]["text"] != []


def test_seeds(client: Client) -> None:
    def said(seed: int) -> str:
        run = client.run(caption_graph(TINY, max_new_tokens=16, **random_sampling(seed)))
        return str(run.outputs["caption"]["text"])

    first = said(1)
    assert said(2) != first
    client.free()
    assert said(1) == first


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sampling__temperature": 0.0}, "smaller than min"),
        ({"sampling__top_p": 1.5}, "bigger than max"),
        ({"preset": "poem"}, "There is no preset 'poem'"),
    ],
)
def test_options_out_of_range_are_refused(client: Client, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(PromptError, match=says):
        client.run(caption_graph(TINY, **({"sampling": "random"} | wrong)))


def test_text_appears_while_it_is_written(client: Client) -> None:
    client.free()
    run = client.run(caption_graph(TINY, max_new_tokens=200))
    shown = [text for name, text in run.texts if name == "caption"]
    assert len(shown) > 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(shown))
    assert shown[-1] == run.outputs["caption"]["text"][0]


def test_live_text_goes_to_who_asked_and_to_nobody_else(client: Client) -> None:
    """Others may have a node of the same id, which would show it; and a script that does not listen has no receiver."""
    client.free()
    queued: dict[str, Any] = {"client_id": client.client_id}
    asker, other = (
        websocket.create_connection(f"ws://{client.address}/ws?clientId={name}", timeout=60)
        for name in (client.client_id, "somebody-else")
    )
    try:
        for number, asks in enumerate((queued, {})):
            graph = caption_graph(TINY, max_new_tokens=50 + number)
            prompt_id = json.loads(client.post("/prompt", {"prompt": graph} | asks))["prompt_id"]
            while not client.get_json(f"/history/{prompt_id}"):
                time.sleep(0.1)
        for socket, hears in ((asker, True), (other, False)):
            socket.settimeout(1)
            heard = []
            with contextlib.suppress(websocket.WebSocketTimeoutException):
                while True:
                    heard.append(socket.recv())
            texts = {len(message) for message in heard if isinstance(message, bytes)}
            assert bool(texts) == hears
            assert any(isinstance(message, str) for message in heard), "that it is connected"
    finally:
        asker.close()
        other.close()


def test_one_progress_bar_for_a_batch(client: Client) -> None:
    run = client.run(ground_graph(60, "the star\nthe ring"))  # long enough: the server leaves out what comes fast
    bars = [data for data in run.of("progress") if data["prompt_id"] == run.prompt_id]
    assert {data["node"] for data in bars} == {"ground"}
    assert len({data["max"] for data in bars}) == 1
    values = [data["value"] for data in bars]
    assert len(values) > 5 and values == sorted(values) and values[-1] == bars[-1]["max"]


def test_the_bar_counts_answers_not_the_longest_they_might_be(comfyui: Path) -> None:
    cases: list[dict[str, Any]] = [
        {"rows": 1, "length": 20, "likely": 24},
        {"rows": 1, "length": 300, "likely": 24},
        {"rows": 40, "length": 20, "likely": 24},
        {"rows": 40, "length": 20, "likely": 400},
        {"rows": 40, "length": 20, "likely": 24, "at_once": 40},
        {"rows": 3, "length": 2, "likely": 24, "most": 2},
        {"rows": 30, "length": 20, "likely": 24, "foreseen": 9},
    ]
    ran = run_inside(comfyui, INSIDE / "progress.py", json.dumps(cases))
    bars, live = ran["bars"], ran["live"]
    for text in live:
        assert len(text) <= 20_000 and text.endswith("8" * 999 + "\n\n" + "9" * 999), "the newest of much text"
    for case, bar in zip(cases, bars, strict=True):
        assert bar == sorted(bar) and bar[-1] <= 1, case
    one, long, many, unlikely, at_once, short, unforeseen = (bar[-1] for bar in bars)
    assert one > 0.7 and long > 0.9, "not 4%"
    assert many > 0.95 and unlikely > 0.95, "what is likely is learnt"
    assert at_once > 0.7 and short > 0.8 and unforeseen > 0.8
    middle = bars[2][len(bars[2]) // 2]
    assert 0.4 < middle < 0.6, "half of the answers are half of the bar"


def lists_graph(count: int, texts: int, asks: dict[str, Any]) -> Graph:
    """A node that asks about a batch of ``count`` scenes, with a list of ``texts`` texts at ``scene texts``."""
    return {
        "scene": node("IAA_DemoScene", seed=1, width=96, height=64, count=count),
        "texts": node("IAA_DemoScene", seed=1, width=96, height=64, count=texts),
        "loader": node("IAA_Loader", checkpoint=TINY),
        "ask": asks | {"inputs": asks["inputs"] | {"model": ["loader", 0], "image": ["scene", 0]}},
        "said": node("PreviewAny", source=["texts", 1]),
    }


GROUND_TEXTS = node("IAA_Ground", phrases=["texts", 1])
CAPTION_TEXTS = node("IAA_Caption", preset="question", prompt=["texts", 1], max_new_tokens=4)


def test_a_list_of_texts_is_paired_with_the_batch(client: Client) -> None:
    graph = lists_graph(3, 3, GROUND_TEXTS) | {"json": node("PreviewAny", source=["ask", 3])}
    run = client.run(graph)
    assert run.status == "success", run.error
    (found,) = run.outputs["json"]["text"]
    said = run.outputs["said"]["text"]
    assert [{box["label"] for box in boxes} for boxes in json.loads(found)] == [{text} for text in said]
    assert len(run.outputs["ask"]["iaa_images"]) == 3, "not nine"
    assert client.run(graph).cached >= {"ask", "json"}
    run = client.run(lists_graph(3, 3, CAPTION_TEXTS))
    assert len(run.outputs["ask"]["text"]) == 3


def test_one_text_serves_all_images_and_one_image_all_texts(client: Client) -> None:
    for count, texts in ((3, 1), (1, 3), (1, 1)):
        graph = lists_graph(count, texts, GROUND_TEXTS) | {"json": node("PreviewAny", source=["ask", 3])}
        run = client.run(graph)
        assert run.status == "success", run.error
        found = [json.loads(text) for text in run.outputs["json"]["text"]]
        assert [len(images) for images in found] == [count] * texts
        assert [{box["label"] for box in images[0]} for images in found] == [{s} for s in run.outputs["said"]["text"]]
        assert len(client.run(lists_graph(count, texts, CAPTION_TEXTS)).outputs["ask"]["text"]) == count * texts


def test_a_text_may_say_the_number_of_its_image(client: Client) -> None:
    """Counted through all batches of a list; the brackets of JSON stay."""
    graph = lists_graph(3, 1, node("IAA_Ground", phrases='shape {index}\n{"a": 1}')) | {
        "batches": node("RebatchImages", images=["scene", 0], batch_size=2),
        "json": node("PreviewAny", source=["ask", 3]),
    }
    graph["ask"]["inputs"]["image"] = ["batches", 0]
    run = client.run(graph)
    assert run.status == "success", run.error
    images = [image for text in run.outputs["json"]["text"] for image in json.loads(text)]
    assert [{box["label"] for box in boxes} for boxes in images] == [{f"shape {n}", '{"a": 1}'} for n in (1, 2, 3)]
    for asks in (
        node("IAA_Caption", preset="question", prompt="What is in {index}?", max_new_tokens=4),
        node("IAA_Choose", question="Is it {index}?", choices="yes\nno"),
        node("IAA_LabelImage", prompt="What is in {index}?"),
    ):
        run = client.run(lists_graph(2, 1, asks))
        assert run.status == "success", run.error


@pytest.mark.parametrize("asks", [GROUND_TEXTS, CAPTION_TEXTS], ids=["ground", "caption"])
def test_texts_of_which_nobody_knows_the_image_are_refused(client: Client, asks: dict[str, Any]) -> None:
    error = client.run(lists_graph(3, 2, asks)).error
    assert "came as a list of 2 texts for 3 images. Give one text for all images, or one an image" in error


def test_lists_of_batches_are_paired_image_by_image(client: Client) -> None:
    """Captions of a list of batches are one list, whatever the sizes of the batches."""
    graph = lists_graph(3, 3, GROUND_TEXTS) | {
        "batches": node("RebatchImages", images=["scene", 0], batch_size=2),
        "json": node("PreviewAny", source=["ask", 3]),
    }
    graph["ask"]["inputs"]["image"] = ["batches", 0]
    run = client.run(graph)
    assert run.status == "success", run.error
    found = [json.loads(text) for text in run.outputs["json"]["text"]]
    assert [len(images) for images in found] == [2, 1]
    labels = [{box["label"] for box in boxes} for images in found for boxes in images]
    assert labels == [{text} for text in run.outputs["said"]["text"]]
    graph["ask"] = CAPTION_TEXTS | {"inputs": graph["ask"]["inputs"] | CAPTION_TEXTS["inputs"]}
    del graph["ask"]["inputs"]["phrases"], graph["json"]
    assert len(client.run(graph).outputs["ask"]["text"]) == 3


def test_a_list_of_pictures_of_several_sizes_is_one_run(client: Client) -> None:
    """One bar; and what comes out is sorted by batch again, with one preview of all."""
    graph = ground_graph(2, "shape {index}\nthe star", several=False, masks="one per phrase") | {
        "tall": node("IAA_DemoScene", seed=2, width=64, height=128),
        "listed": node("CreateList", **{"inputs.input0": ["scene", 0], "inputs.input1": ["tall", 0]}),
        "json": node("PreviewAny", source=["ground", 3]),
        "labels": node("PreviewAny", source=["ground", 5]),
        "count": node("PreviewAny", source=["ground", 4]),
        "mask": node("MaskToImage", mask=["ground", 1]),
    }
    for name, images in (("masked", ["mask", 0]), ("drawn", ["ground", 2])):
        graph[name] = node("GetImageSize", image=images)
        graph |= {f"{name}{n}": node("PreviewAny", source=[name, n]) for n in range(3)}
    graph["ground"]["inputs"] |= {"image": ["listed", 0], "threshold": 0.0}
    run = client.run(graph)
    assert run.status == "success", run.error

    def sizes(name: str) -> list[tuple[str, ...]]:
        return list(zip(*(run.outputs[f"{name}{n}"]["text"] for n in range(3)), strict=True))

    assert sizes("drawn") == [("96", "64", "2"), ("64", "128", "1")]
    assert sizes("masked") == [("96", "64", "4"), ("64", "128", "2")], "a mask a phrase"
    found = [json.loads(text) for text in run.outputs["json"]["text"]]
    assert [len(images) for images in found] == [2, 1]
    assert run.outputs["count"]["text"] == [str(sum(map(len, images))) for images in found]
    assert run.outputs["labels"]["text"] == [label for number in (1, 2, 3) for label in (f"shape {number}", "the star")]
    shown = run.outputs["ground"]
    pictures = [(place["width"], place["height"]) for (place,) in shown["iaa_images"]]
    assert pictures == [(96, 64), (96, 64), (64, 128)]
    assert len(shown["images"]) == len(shown["iaa_boxes"]) == 3
    values = [data["value"] for data in run.of("progress") if data["node"] == "ground"]
    assert values == sorted(values)


def test_choices_of_a_list_and_of_several_questions(client: Client) -> None:
    graph = lists_graph(3, 3, node("IAA_Choose", question="Is it {index}?", choices="yes\nno"))
    graph["listed"] = node("RebatchImages", images=["scene", 0], batch_size=2)
    graph["yes"] = node("PreviewAny", source=["ask", 3])
    graph["ask"]["inputs"]["image"] = ["listed", 0]
    run = client.run(graph)
    assert run.status == "success", run.error
    assert len(run.outputs["yes"]["text"]) == len(run.outputs["ask"]["text"]) == 3
    assert len(run.outputs["ask"]["files"]) == 1
    del graph["ask"]["inputs"]["image"], graph["listed"]
    graph["ask"]["inputs"]["question"] = ["texts", 1]
    run = client.run(graph)
    assert run.status == "success", run.error
    assert len(run.outputs["yes"]["text"]) == 3


def test_lists_at_other_inputs_make_a_run_each(client: Client) -> None:
    boxes = {"__value__": [{"x": 0, "y": 0, "width": width, "height": 9} for width in (2, 30)]}
    graph = lists_graph(2, 1, node("IAA_Caption", max_new_tokens=["widths", 0])) | {
        "crops": node("IAA_CropBoxes", image=["texts", 0], bboxes=boxes),
        "widths": node("GetImageSize", image=["crops", 0]),
    }
    run = client.run(graph)
    assert run.status == "success", run.error
    first, second, third, fourth = run.outputs["ask"]["text"]
    assert third.startswith(first) and fourth.startswith(second) and len(third) > len(first)


def test_the_demo_model_says_that_it_answered(client: Client) -> None:
    asks = {
        "caption": node("IAA_Caption", image=["scene", 0], max_new_tokens=2),
        "ground": node("IAA_Ground", image=["scene", 0], phrases="the star"),
        "text": node("IAA_Text", prompt="What?", max_new_tokens=2),
        "chat": node("IAA_Chat", message="What?", image=["scene", 0], max_new_tokens=2),
    }
    for checkpoint, count in (("demo (coloured shapes)", 1), (TINY, 0)):
        graph = {name: ask | {"inputs": ask["inputs"] | {"model": ["loader", 0]}} for name, ask in asks.items()}
        graph |= {
            "scene": node("IAA_DemoScene", seed=1, width=96, height=64),
            "loader": node("IAA_Loader", checkpoint=checkpoint),
        }
        run = client.run(graph)
        assert run.status == "success", run.error
        for name in asks:
            notes = run.outputs[name]["iaa_note"]
            assert len(notes) == count, name
            assert all("only coloured shapes" in note and "IAA Loader" in note for note in notes)
            assert not any("coloured shapes" in text for text in run.outputs[name].get("text", []))


def cancelled_after(client: Client, graph: Graph) -> float:
    """Cancels a graph once its answer is under way; returns the seconds from there to the end."""
    pressed: list[float] = []

    def press(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress" and not pressed:
            client.interrupt()
            pressed.append(time.monotonic())

    run = client.run(graph, press)
    ended = time.monotonic()
    assert run.status == "interrupted"
    return ended - pressed[0]


def test_cancel_in_the_middle_of_an_answer(client: Client, gigabyte: str) -> None:
    graph = caption_graph(gigabyte, max_new_tokens=1500)
    assert cancelled_after(client, graph) < 3, "1500 tokens of this checkpoint take minutes"
    graph["caption"]["inputs"]["max_new_tokens"] = 2
    run = client.run(graph)
    assert run.status == "success" and run.outputs["caption"]["text"]


def test_cancel_in_the_middle_of_a_batch(client: Client) -> None:
    phrases = "\n".join(f"the shape number {number}" for number in range(20))
    graph = ground_graph(40, phrases)
    assert cancelled_after(client, graph) < 3
    graph["ground"]["inputs"]["phrases"] = "the star"
    assert client.run(graph).status == "success"


SIDE = 8192
HUGE: Graph = {
    "huge": node("EmptyImage", width=SIDE, height=SIDE, batch_size=1, color=0x8040C0),
    "loader": node("IAA_Loader", checkpoint=TINY),
    "crop": node("IAA_CropBoxes", image=["huge", 0], bboxes={"x": 1, "y": 1, "width": 8000, "height": 8000}),
    "invert": node("ImageInvert", image=["crop", 0]),
}
BOX = {"x": 90, "y": 90, "width": 8000, "height": 8000, "label": "it"}
STAGES: dict[str, dict[str, Any]] = {
    "preprocessing": node("IAA_Caption", model=["loader", 0], image=["huge", 0], max_new_tokens=400),
    "drawing": node("IAA_Ground", model=["loader", 0], image=["huge", 0], phrases="it"),
    "a preview": node("IAA_SelectBoxes", bboxes=BOX, image=["huge", 0]),
    "a mask": node("IAA_BoxesToMask", bboxes=BOX, image=["huge", 0], shape="ellipse", feather=99),
    "cropping": node("IAA_CropBoxes", image=["huge", 0], bboxes=BOX, resize="longer side", size=7000),
    "pasting": node("IAA_PasteCrops", image=["huge", 0], crops=["invert", 0], regions=["crop", 2], feather=9),
    "scenes": node("IAA_DemoScene", seed=1, width=2048, height=2048, count=16),
}


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_in_the_middle_of_a_huge_picture(client: Client, stage: str) -> None:
    pressed: list[float] = []
    executed: list[str] = []

    def press() -> None:
        pressed.append(time.monotonic())
        client.interrupt()

    def watch(kind: str, data: dict[str, Any]) -> None:
        executed.extend([data["display_node"]] if kind == "executing" and data["node"] else [])
        # While boxes are sought, Cancel is heard at any token; it is what comes behind that takes long here. What takes
        # crops is executed in its node's place when they are there: between, ComfyUI's own node is deaf.
        at = kind == "progress" if stage == "drawing" else executed.count("it") == 1 + (stage == "pasting")
        if at and not pressed:
            pressed.append(0.0)
            threading.Timer(0.15, press).start()

    run = client.run(HUGE | {"it": STAGES[stage], "show": node("PreviewAny", source=["it", 0])}, watch)
    ended = time.monotonic()
    assert run.status == "interrupted", "it was done before anyone could press"
    assert ended - pressed[-1] < 2
    client.free()
