"""What ComfyUI itself shows of our nodes' results, in apps, in the queue and among the assets: its jobs tell."""

from __future__ import annotations

from typing import Any

import pytest
from comfyui_server import Client, Graph, Run, Server, node
from PIL import ImageChops

DEMO = "demo (coloured shapes)"


def demo_graph(count: int = 1, **asking: dict[str, Any]) -> Graph:
    """Scenes and the demo model for the nodes in ``asking``."""
    graph = {
        "scene": node("IAA_DemoScene", seed=20, width=448, height=448, count=count),
        "loader": node("IAA_Loader", checkpoint=DEMO),
    }
    return graph | asking


def job_of(client: Client, run: Run) -> Any:
    """What ComfyUI makes of a run."""
    assert run.status == "success", run.error
    return client.get_json(f"/api/jobs/{run.prompt_id}")


@pytest.mark.parametrize("kind", ["ground", "select", "chat"])
def test_pictures_are_shown_with_their_boxes(client: Client, kind: str) -> None:
    """One result an image, and not the plain picture, which our view draws on."""
    sees = {"model": ["loader", 0], "image": ["scene", 0]}
    asking = {
        "ground": node("IAA_Ground", **sees, phrases="the orange ring"),
        "select": node("IAA_SelectBoxes", bboxes=["ground", 0], image=["scene", 0]),
        "chat": node("IAA_Chat", **sees, message="the orange ring", task="G"),
    }
    asking["used"] = node("PreviewAny", source=["select", 2])  # nobody asks for a selection that goes nowhere
    wanted = {"ground", "select", "used"} if kind == "select" else {kind}
    run = client.run(demo_graph(**{name: asked for name, asked in asking.items() if name in wanted}))
    shown = run.outputs[kind]
    job = job_of(client, run)
    files = [item for item in job["outputs"][kind].get("images", []) if "filename" in item]
    assert [item["filename"] for item in files] == [place["filename"] for place in shown["images"]]
    assert not [item for item in job["outputs"][kind]["iaa_images"] if "filename" in item]
    assert job["preview_output"]["mediaType"] == "images"
    ((plain,),), (marked,) = shown["iaa_images"], shown["images"]
    (box,) = shown["iaa_boxes"][0]
    changed = ImageChops.difference(client.image(plain), client.image(marked)).getbbox()
    assert changed is not None
    assert changed[0] <= box["x"] and changed[2] >= box["x"] + box["width"] and changed[3] >= box["y"] + box["height"]


def test_a_picture_without_boxes_is_kept_once(client: Client) -> None:
    """There is nothing to draw on it."""
    graph = demo_graph(ground=node("IAA_Ground", model=["loader", 0], image=["scene", 0], phrases="it", threshold=1.0))
    shown = client.run(graph).outputs["ground"]
    assert [shown["images"][0]["filename"]] == [place["filename"] for place in shown["iaa_images"][0]]


def test_of_a_long_batch_the_first_pictures_are_shown(client: Client, server: Server) -> None:
    """Two full-size files a frame of a video would fill the disk. Of boxes all are told."""
    ground = node("IAA_Ground", model=["loader", 0], image=["video", 0], phrases="it", threshold=0.0)
    graph = demo_graph(video=node("RepeatImageBatch", image=["scene", 0], amount=70), ground=ground)
    graph["scene"]["inputs"] |= {"width": 64, "height": 64}
    select = {
        "select": node("IAA_SelectBoxes", bboxes=["ground", 0], image=["video", 0]),
        "used": node("PreviewAny", source=["select", 2]),
    }
    for name, asked in (("ground", graph), ("select", graph | select)):
        before = set(server.base.glob("temp/*.png"))
        run = client.run(asked)
        assert run.status == "success", run.error
        written = set(server.base.glob("temp/*.png")) - before
        shown = run.outputs[name]
        assert len(shown["images"]) == len(shown["iaa_images"]) == 64 and len(shown["iaa_boxes"]) == 70
        assert len(written) <= 2 * 64
        assert {place["filename"] for place in shown["images"]} <= {file.name for file in written}
    graph["listed"] = node("RebatchImages", images=["video", 0], batch_size=1)
    graph["ground"]["inputs"]["image"] = ["listed", 0]
    shown = client.run(graph).outputs["ground"]
    assert len(shown["images"]) == 64 and len(shown["iaa_boxes"]) == 70, "of a list as of a batch"


def test_texts_are_shown_as_one_file(client: Client) -> None:
    """Of all images, as apps show files and no ``text``."""
    asks = node("IAA_Caption", model=["loader", 0], image=["scene", 0])
    run = client.run(demo_graph(count=2, caption=asks))
    shown = run.outputs["caption"]
    (file,) = shown["files"]
    assert client.get("/view", **file).decode() == "\n\n".join(shown["text"])
    assert job_of(client, run)["preview_output"]["filename"] == file["filename"]
