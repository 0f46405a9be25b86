"""What an API graph hands to sockets: JSON where images belong opens nothing, and every wrong kind is one sentence."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client, Graph, PromptError, Server, node, run_inside
from PIL import Image

INSIDE = Path(__file__).parent / "inside"
TINY = "sub/tiny"
SCENE: Graph = {
    "scene": node("IAA_DemoScene", seed=5, width=120, height=80),
    "pair": node("IAA_DemoScene", seed=5, width=120, height=80, count=2),
    "loader": node("IAA_Loader", checkpoint=TINY),
}
BOX = {"x": 1, "y": 2, "width": 30, "height": 40, "label": "it"}
CROP: Graph = {"crop": node("IAA_CropBoxes", image=["scene", 0], bboxes=BOX)}
NODES: dict[str, dict[str, Any]] = {
    "IAA_LoadAdaptor": {"model": ["loader", 0], "adaptor": "sub/tiny-G.safetensors"},
    "IAA_Teach": {
        "model": ["loader", 0],
        "image": ["pair", 0],
        "name": "checks",
        "phrase": "it",
        "bboxes": {"__value__": [[BOX], [BOX]]},
        "steps": 1,
        "rank": 1,
        "batch": 1,
    },
    "IAA_Caption": {"model": ["loader", 0], "image": ["scene", 0], "max_new_tokens": 2},
    "IAA_Ground": {"model": ["loader", 0], "image": ["scene", 0], "phrases": "the star"},
    "IAA_Chat": {"model": ["loader", 0], "image": ["scene", 0], "message": "What?", "max_new_tokens": 2},
    "IAA_Text": {"model": ["loader", 0], "prompt": "What?", "max_new_tokens": 2},
    "IAA_Choose": {"model": ["loader", 0], "question": "Is it?", "choices": "yes\nno", "image": ["scene", 0]},
    "IAA_LabelImage": {"model": ["loader", 0], "image": ["scene", 0]},
    "IAA_CaptionBoxes": {"model": ["loader", 0], "image": ["scene", 0], "bboxes": BOX},
    "IAA_SelectBoxes": {"bboxes": BOX, "image": ["scene", 0]},
    "IAA_MergeBoxes": {"bboxes": BOX, "image": ["scene", 0]},
    "IAA_TrackBoxes": {"bboxes": BOX, "image": ["scene", 0]},
    "IAA_ConvertBoxes": {"boxes": {"__value__": [BOX]}, "image": ["scene", 0]},
    "IAA_BoxesToMask": {"bboxes": BOX, "image": ["scene", 0]},
    "IAA_CropBoxes": {"bboxes": BOX, "image": ["scene", 0]},
    "IAA_PasteCrops": {"image": ["scene", 0], "crops": ["crop", 0], "regions": ["crop", 2]},
}
"""Inputs with which each node runs."""
WITH_IMAGE = sorted(name for name, inputs in NODES.items() if "image" in inputs)


def run(client: Client, kind: str, **changed: Any) -> str:
    """Runs a node; returns its error, empty if there is none."""
    inputs = {name: value for name, value in (NODES[kind] | changed).items() if value is not ...}
    seven, shown = {"7": node("PrimitiveFloat", value=7.0)}, {"show": node("PreviewAny", source=["it", 0])}
    return client.run(SCENE | CROP | seven | {"it": node(kind, **inputs)} | shown).error


def test_every_node_is_among_them(pack: dict[str, Any]) -> None:
    without = {"IAA_Loader", "IAA_RemoteLoader", "IAA_DemoScene", "IAA_DemoNewShape", "IAA_DetectorProvider"}
    lacking = set(pack["nodes"]) - set(NODES) - without
    assert not lacking, f"NODES above has no inputs with which {', '.join(lacking)} runs: add them."


@pytest.mark.parametrize("kind", NODES)
def test_right_inputs_run(client: Client, kind: str) -> None:
    assert run(client, kind) == ""


def test_the_page_tells_what_each_node_writes_into_outputs(client: Client, project: Path) -> None:
    page = (project / "docs" / "automation.md").read_text(encoding="utf-8")
    table = page.partition("| node | key | value |\n|---|---|---|\n")[2].partition("\n\n")[0]
    told: dict[str, set[str]] = {}
    nodes: list[str] = []
    for named, key in re.findall(r"^\|(.*?)\| `(\w+)` \|", table, re.MULTILINE):
        nodes = re.findall(r"IAA_\w+", named) or nodes
        for kind in nodes:
            told.setdefault(kind, set()).add(key)
    every = {kind: node(kind, **inputs) for kind, inputs in NODES.items()}
    done = client.run(SCENE | CROP | every | {f"show {kind}": node("PreviewAny", source=[kind, 0]) for kind in NODES})
    assert done.status == "success", done.error
    assert {kind: set(done.outputs[kind]) for kind in NODES if kind in done.outputs} == told


@pytest.mark.parametrize("kind", WITH_IMAGE)
def test_a_path_in_place_of_an_image_is_not_opened(client: Client, server: Server, kind: str) -> None:
    there, fifo = server.base / "private.png", server.base / "fifo.png"
    Image.new("RGB", (9, 9)).save(there)
    if not fifo.exists():
        os.mkfifo(fifo)  # whoever opens it waits for ever
    errors = {run(client, kind, image={"__value__": [str(path)]}) for path in (there, fifo, Path("/nowhere.png"))}
    assert len(errors) == 1, "the answer does not tell what exists"
    (error,) = errors
    # A list of one string reaches a node that takes whole lists as that string.
    assert "'image' must be an IMAGE" in error and error.strip().endswith((" list came.", " text came."))
    assert "png" not in error


@pytest.mark.parametrize("value", [None, 5, "a.png", True, {"a": 1}, {"__value__": [[[[0.5]]]]}])
def test_other_json_is_no_image_either(client: Client, value: Any) -> None:
    assert "'image' must be an IMAGE" in run(client, "IAA_Ground", image=value)


@pytest.mark.parametrize(
    ("kind", "name", "value", "says"),
    [
        ("IAA_Ground", "model", {"a": 1}, "'model' must be a model: connect IAA Loader"),
        ("IAA_Chat", "history", "hello", "'history' must be a conversation: connect the history of an IAA Chat"),
        ("IAA_PasteCrops", "regions", "x", "'regions' must be regions: connect those of IAA Crop"),
        ("IAA_PasteCrops", "masks", "x", "'masks' must be a MASK"),
    ],
)
def test_other_sockets_take_their_kind_alone(client: Client, kind: str, name: str, value: Any, says: str) -> None:
    assert says in run(client, kind, **{name: value})


def test_every_input_of_every_node_takes_its_kind_alone(comfyui: Path) -> None:
    """Linked values come unchecked, so every input is given everything, without a graph."""
    takes = {
        "IMAGE": {"an image", "an image of bfloat16"},
        "MASK": {"a mask", "an image of rank 3"},
        "INT": {"1"},
        "FLOAT": {"1", "0.5"},
        "BOOLEAN": {"true"},
        "STRING": {"text", "no text"},
        "COMBO": set(),
        "COMFY_DYNAMICCOMBO_V3": set(),
        "IAA_MODEL": set(),
        "IAA_CHAT": set(),
        "IAA_REGIONS": set(),
        "BOUNDING_BOX": {"an empty list"},
    }
    report = run_inside(comfyui, INSIDE / "checks.py")
    assert {kind for _, kind, _ in report} == {*takes, "boxes"}
    for name, kind, accepted in report:
        assert kind == "boxes" or set(accepted) - {"null, as it may be absent"} <= takes[kind], name
    kinds = {kind for _, kind, accepted in report if set(accepted) & takes.get(kind, set())}
    assert kinds == {kind for kind, values in takes.items() if values}, "what is right is let through"


WRONG_BOXES: list[Any] = [
    5,
    "a box",
    {"a": 1},
    {"__value__": [[1, 2, 3, 4]]},
    {"__value__": [[BOX], BOX]},
    BOX | {"x": "1"},
    BOX | {"x": None},
    BOX | {"width": -1},
    BOX | {"height": 10**400},
    BOX | {"score": "high"},
    BOX | {"score": math.nan},
    BOX | {"label": {"a": 1}},
]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("IAA_SelectBoxes", "bboxes"),
        ("IAA_SelectBoxes", "inside"),
        ("IAA_MergeBoxes", "bboxes_2"),
        ("IAA_TrackBoxes", "bboxes"),
        ("IAA_BoxesToMask", "bboxes"),
        ("IAA_CropBoxes", "bboxes"),
    ],
)
def test_wrong_boxes_are_told_by_their_input(client: Client, kind: str, name: str) -> None:
    for value in WRONG_BOXES:
        error = run(client, kind, **{name: value})
        assert f"{name!r} must be a BOUNDING_BOX: connect an output for boxes." in error, (value, error)


@pytest.mark.parametrize(
    "value", [5, None, "no boxes here", "{", '{"detections": [5]}', '[{"x": 1}]', {"score": "high"}]
)
def test_what_convert_boxes_cannot_read_is_told_by_its_input(client: Client, value: Any) -> None:
    assert "'boxes' cannot be read. " in run(client, "IAA_ConvertBoxes", boxes=value)


OUTSIDE = BOX | {"x": 500}


def test_boxes_and_images_are_paired_or_refused(client: Client) -> None:
    def segs(images: int, boxes: list[Any]) -> list[Any] | str:
        graph = SCENE | {
            "batch": node("RepeatImageBatch", image=["scene", 0], amount=images),
            "convert": node("IAA_ConvertBoxes", boxes={"__value__": boxes}, image=["batch", 0]),
            "segs": node("PreviewAny", source=["convert", 4]),
        }
        done = client.run(graph)
        return done.outputs["segs"]["text"] if done.status == "success" else done.error

    assert len(segs(2, [[BOX], []])) == len(segs(2, [BOX])) == len(segs(1, [[BOX], []])) == 2
    for images, boxes in ((2, [[BOX], [], [BOX]]), (3, [[BOX], []])):
        error = segs(images, boxes)
        assert f"There are boxes for {len(boxes)} images, but {images} images. Connect" in error


def test_a_box_outside_is_not_there_for_any_node(client: Client) -> None:
    graph = SCENE | {
        "mask": node("IAA_BoxesToMask", bboxes=OUTSIDE, image=["scene", 0], masks="one per box"),
        "shown": node("MaskPreview", mask=["mask", 0]),
        "crop": node("IAA_CropBoxes", bboxes=OUTSIDE, image=["scene", 0]),
        "none": node("PreviewAny", source=["crop", 3]),
        "whole": node("IAA_CropBoxes", bboxes=OUTSIDE, image=["scene", 0], nothing_found="whole image"),
        "one": node("PreviewAny", source=["whole", 3]),
        "select": node("IAA_SelectBoxes", bboxes=OUTSIDE, image=["scene", 0]),
        "first": node("PreviewAny", source=["select", 1]),
        "left": node("PreviewAny", source=["select", 2]),
        "kept": node("IAA_SelectBoxes", bboxes=OUTSIDE, image=["scene", 0], nothing_left="error"),
        "one left": node("PreviewAny", source=["kept", 2]),
        "convert": node("IAA_ConvertBoxes", boxes=OUTSIDE, image=["scene", 0]),
        "segs": node("PreviewAny", source=["convert", 4]),
    }
    done = client.run(graph)
    assert done.status == "success", done.error
    assert (done.outputs["none"]["text"], done.outputs["one"]["text"]) == (["0"], ["1"])
    assert done.outputs["select"]["iaa_boxes"] == [[]]
    assert "first" not in done.outputs, "there is no box to work on"
    assert done.outputs["left"]["text"] == done.outputs["one left"]["text"] == ["1"], "numbers are kept as they are"
    assert [json.loads(text) for text in done.outputs["segs"]["text"]] == [[[80, 120], []]]


def test_no_format_holds_what_lies_outside_or_is_thinner_than_a_pixel(client: Client) -> None:
    boxes = [
        [OUTSIDE],
        [{"x": 10.2, "y": 20.4, "width": 0.1, "height": 0.3}, {"x": 110, "y": -5, "width": 99, "height": 9}],
    ]
    graph = SCENE | {"convert": node("IAA_ConvertBoxes", boxes={"__value__": boxes}, image=["scene", 0])}
    slots = {"bboxes": 0, "KJNodes": 1, "LayerStyle": 2, "box": 3, "Florence2": 5, "json": 6}
    graph |= {name: node("PreviewAny", source=["convert", slot]) for name, slot in slots.items()}
    done = client.run(graph)
    assert done.status == "success", done.error
    said = {name: json.loads(done.outputs[name]["text"][0]) for name in slots}
    corners = [[], [[10, 20, 11, 21], [110, 0, 120, 4]]]
    assert said["LayerStyle"] == said["Florence2"] == corners and said["box"] == [10, 20, 11, 21]
    assert said["KJNodes"] == [[10, 20, 1, 1], [110, 0, 10, 4]]
    assert [[box["bbox"] for box in found] for found in said["json"]] == corners
    assert [[[box[side] for side in ("x", "y", "width", "height")] for box in found] for found in said["bboxes"]] == [
        [],
        said["KJNodes"],
    ]


def test_segs_that_nobody_takes_stop_nobody(client: Client) -> None:
    graph = SCENE | {"scene": node("IAA_DemoScene", seed=5, width=2048, height=2048)}
    box = {"x": 0, "y": 0, "width": 2048, "height": 2048}
    graph |= {
        "convert": node("IAA_ConvertBoxes", boxes={"__value__": [[box] * 300]}, image=["scene", 0]),
        "box": node("PreviewAny", source=["convert", 3]),
    }
    done = client.run(graph)
    assert done.status == "success", done.error
    assert json.loads(done.outputs["box"]["text"][0]) == [0, 0, 2048, 2048]
    graph["segs"] = node("PreviewAny", source=["convert", 4])
    assert "IAA Convert Boxes: The crop regions of SEGS would have" in client.run(graph).error


def test_segs_and_images_come_in_pairs(client: Client) -> None:
    """Whatever takes both runs once for each pair; SEGS with an image of another size are refused."""
    graph = SCENE | {
        "other": node("ImageInvert", image=["scene", 0]),
        "both": node("ImageBatch", image1=["scene", 0], image2=["other", 0]),
        "convert": node("IAA_ConvertBoxes", boxes={"__value__": [[BOX], [BOX | {"x": 40}]]}, image=["both", 0]),
        "again": node("IAA_ConvertBoxes", boxes=["convert", 4], image=["convert", 7]),
        "pairs": node("PreviewAny", source=["again", 3]),
        "count": node("PreviewAny", source=["again", 4]),
        "images": node("PreviewImage", images=["again", 7]),
        "expected": node("PreviewImage", images=["both", 0]),
    }
    done = client.run(graph)
    assert done.status == "success", done.error
    assert [json.loads(text) for text in done.outputs["pairs"]["text"]] == [[1, 2, 31, 42], [40, 2, 70, 42]]
    assert len(done.outputs["count"]["text"]) == 2
    first, second = (
        [client.image(shown).convert("RGB").tobytes() for shown in done.outputs[name]["images"]]
        for name in ("images", "expected")
    )
    assert first == second and len(set(first)) == 2
    graph["larger"] = node("ImageScaleBy", image=["convert", 7], upscale_method="area", scale_by=2.0)
    graph["again"]["inputs"]["image"] = ["larger", 0]
    assert "The SEGS are of an image of 120 x 80, and one of 240 x 160 came." in client.run(graph).error


@pytest.mark.parametrize("kind", ["IAA_Caption", "IAA_Text", "IAA_Chat"])
@pytest.mark.parametrize("value", [5, None, "drawn", {"sampling": "random"}, {"__value__": ["random"]}])
def test_a_choice_that_does_not_exist_is_not_another(client: Client, kind: str, value: Any) -> None:
    error = run(client, kind, sampling=value)
    assert "'sampling' is" in error and '"sampling": "random"' in error and '"sampling.temperature"' in error


@pytest.mark.parametrize("name", ["precision", "weights"])
@pytest.mark.parametrize("value", [5, "int3", {"a": 1}, {"__value__": ["int8"]}, ["scene", 0]])
def test_a_dtype_or_precision_that_does_not_exist_is_refused(client: Client, name: str, value: Any) -> None:
    graph = SCENE | {"loader": node("IAA_Loader", checkpoint=TINY, **{name: value})}
    graph |= {"it": node("IAA_Text", **NODES["IAA_Text"]), "show": node("PreviewAny", source=["it", 0])}
    with pytest.raises(PromptError, match=rf"{name}: .* not in \['(as stored|auto)'|{name}, received_type"):
        client.run(graph)


def test_a_choice_alone_takes_the_defaults_of_its_group(client: Client) -> None:
    assert run(client, "IAA_Text", sampling="random") == ""
    assert "'sampling.top_p' must be from 0.01 to 1.0. 7.0 came." in run(
        client, "IAA_Text", sampling="random", sampling__top_p=["7", 0]
    )
