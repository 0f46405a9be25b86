"""IAA Track Boxes on a running ComfyUI."""

from __future__ import annotations

import json

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
