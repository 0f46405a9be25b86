"""IAA Track Boxes on a running ComfyUI."""

from __future__ import annotations

import json

import pytest
from comfyui_server import Client, node


def test_boxes_keep_their_numbers_and_a_gap_is_filled(client: Client) -> None:
    """Two dogs in five frames, in changing order; the second is missing once."""
    frames = [
        [{"x": 10 * i + 100 * dog, "y": 0, "width": 40, "height": 30, "label": "dog"} for dog in (0, 1)]
        for i in range(5)
    ]
    frames[1].reverse()
    del frames[2][1]
    graph = {
        "scene": node("IAA_DemoScene", seed=5, width=240, height=80, count=5),
        "track": node("IAA_TrackBoxes", bboxes={"__value__": frames}, image=["scene", 0]),
        "boxes": node("PreviewAny", source=["track", 0]),
        "count": node("PreviewAny", source=["track", 1]),
        "anew": node("IAA_TrackBoxes", bboxes=["track", 0], iou=0.5),
        "second": node("IAA_SelectBoxes", bboxes=["anew", 0], labels="dog #2"),
        "left": node("PreviewAny", source=["second", 2]),
    }
    run = client.run(graph)
    assert run.status == "success", run.error
    found = json.loads(run.outputs["boxes"]["text"][0])
    assert [[(box["x"], box["label"]) for box in own] for own in found] == [
        [(10 * i, "dog #1"), (100 + 10 * i, "dog #2")] for i in range(5)
    ]
    assert run.outputs["count"]["text"] == ["2"]
    assert run.outputs["left"]["text"] == ["5"], "who follows them anew finds them under the same names"
    assert [box["label"] for box in run.outputs["track"]["iaa_boxes"][2]] == ["dog #1", "dog #2"]
    graph["track"]["inputs"] |= {"gap": 0, "number_labels": False}
    again = client.run(graph)
    assert again.outputs["count"]["text"] == ["3"], again.error
    assert {box["label"] for own in json.loads(again.outputs["boxes"]["text"][0]) for box in own} == {"dog"}


@pytest.mark.parametrize("images", ["scene", "listed"])
def test_a_list_of_frames_is_one_video(client: Client, images: str) -> None:
    """Each was a video of its own: every box of every frame was called number 1, or 2."""
    frames = [
        [{"x": 10 * i + 100 * dog, "y": 0, "width": 40, "height": 30, "label": "dog"} for dog in (0, 1)]
        for i in range(3)
    ]
    graph = {
        "scene": node("IAA_DemoScene", seed=5, width=240, height=80, count=4),
        "listed": node("RebatchImages", images=["scene", 0], batch_size=1),
        "one": node("IAA_ConvertBoxes", boxes={"__value__": [frames[0]]}),
        "two": node("IAA_ConvertBoxes", boxes={"__value__": [[], frames[2][::-1]]}),
        "last": node("IAA_ConvertBoxes", boxes={"__value__": [[]]}),
        "boxes": node("CreateList", **{f"inputs.input{n}": [name, 0] for n, name in enumerate(("one", "two", "last"))}),
        "track": node("IAA_TrackBoxes", bboxes=["boxes", 0], image=[images, 0], gap=1),
        "shown": node("PreviewAny", source=["track", 0]),
        "count": node("PreviewAny", source=["track", 1]),
    }
    run = client.run(graph)
    assert run.status == "success", run.error
    found = [json.loads(text) for text in run.outputs["shown"]["text"]]
    assert [[[(box["x"], box["label"]) for box in own] for own in part] for part in found] == [
        [[(0, "dog #1"), (100, "dog #2")]],
        [[(10, "dog #1"), (110, "dog #2")], [(20, "dog #1"), (120, "dog #2")]],
        [[]],
    ]
    assert run.outputs["count"]["text"] == ["2"]
    assert [len(boxes) for boxes in run.outputs["track"]["iaa_boxes"]] == [2, 2, 2, 0]
