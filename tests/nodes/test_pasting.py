"""IAA Crop Boxes and IAA Paste Crops with what lies between them, and with nothing between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_server import PACK, Client, Graph, Run, link_pack, node, running

PROJECT = Path(__file__).parents[2]
SIZE = (120, 80)
BOX = {"x": 20, "y": 10, "width": 40, "height": 30}
SPLIT = [BOX | {"x": 0, "width": 30}, BOX | {"x": 30, "width": 40}, BOX | {"x": 70, "width": 50}]
"""A scene cut along these is a list of three batches, of three sizes."""


@pytest.fixture(scope="module", params=["", "--cache-none"])
def either(request: pytest.FixtureRequest, comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Talks to a ComfyUI that remembers results, or to one that remembers none."""
    if not request.param:
        yield request.getfixturevalue("client")
        return
    base = tmp_path_factory.mktemp("forgetful")
    link_pack(PROJECT, base)
    with running(comfyui, base, request.param, "--whitelist-custom-nodes", PACK) as started:
        yield started.client


def pasting(bboxes: Any, edited: bool, images: str = "scene", **more: Any) -> Graph:
    """Crops of boxes are inverted, or not, and pasted back."""
    return {
        "scene": node("IAA_DemoScene", seed=5, width=SIZE[0], height=SIZE[1]),
        "split": node("IAA_CropBoxes", image=["scene", 0], bboxes={"__value__": [SPLIT]}),
        "crop": node("IAA_CropBoxes", image=[images, 0], bboxes={"__value__": bboxes}),
        "invert": node("ImageInvert", image=["crop", 0]),
        "paste": node(
            "IAA_PasteCrops",
            image=[images, 0],
            crops=["invert" if edited else "crop", 0],
            regions=["crop", 2],
            **more,
        ),
        "before": node("PreviewImage", images=[images, 0]),
        "after": node("PreviewImage", images=["paste", 0]),
    }


def shown(client: Client, run: Run, name: str) -> list[Any]:
    """The pixels of the pictures that a node shows."""
    return [np.asarray(client.image(picture)) for picture in run.outputs[name]["images"]]


@pytest.mark.parametrize("images", ["scene", "split"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("edited", [True, False])
def test_pictures_without_boxes_pass(either: Client, edited: bool, masked: bool, images: str) -> None:
    """Whether the edit is there, or was bypassed so that the crops come straight from IAA Crop Boxes."""
    run = either.run(pasting([[]], edited, images, **({"masks": ["crop", 1]} if masked else {})))
    assert run.status == "success", run.error
    assert "invert" not in run.executed
    before, after = shown(either, run, "before"), shown(either, run, "after")
    assert len(after) == (3 if images == "split" else 1)
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("images", ["scene", "split"])
def test_pictures_with_boxes_change_in_them_alone(either: Client, images: str) -> None:
    for edited, masked in ((True, False), (True, True), (False, False)):
        graph = pasting([[BOX | {"width": 9}]], edited, images, **({"masks": ["crop", 1]} if masked else {}))
        run = either.run(graph)
        assert run.status == "success", run.error
        for before, after in zip(shown(either, run, "before"), shown(either, run, "after"), strict=True):
            inside = np.zeros(before.shape[:2], dtype=bool)
            inside[10:40, 20:29] = edited
            assert np.array_equal((before != after).any(-1), inside)


def test_what_crops_are_not_is_told_by_its_input(client: Client) -> None:
    graph = pasting([[BOX]], edited=True)
    graph["paste"]["inputs"]["crops"] = "no picture"
    run = client.run(graph)
    assert run.status == "error" and "'crops' must be an IMAGE" in run.error
    assert {data["node_id"] for data in run.of("execution_error")} == {"paste"}, "the node that the user sees"


def test_a_list_of_options_has_one_for_each_batch(client: Client) -> None:
    """As with other nodes, whose n-th run has the n-th of every list."""
    graph = pasting([[BOX | {"x": 9, "y": 9, "width": 2, "height": 2}]], True, "split")
    graph |= {name: node("PrimitiveInt", value=value) for name, value in (("one", 1), ("two", 2), ("three", 3))}
    graph["list"] = node("CreateList", **{"inputs.input0": ["one", 0], "inputs.input1": ["two", 0]})
    graph["list"]["inputs"]["inputs.input2"] = ["three", 0]
    graph["crop"]["inputs"]["padding"] = ["list", 0]
    graph["crops"] = node("PreviewImage", images=["crop", 0])
    run = client.run(graph)
    assert run.status == "success", run.error
    assert [picture.shape[:2] for picture in shown(client, run, "crops")] == [(4, 4), (6, 6), (8, 8)]
    for name, at in (("padding", "crop"), ("feather", "paste")):
        graph = pasting([[BOX]], True)
        graph |= {"one": node("PrimitiveInt", value=1), "two": node("PrimitiveInt", value=2)}
        graph["list"] = node("CreateList", **{"inputs.input0": ["one", 0], "inputs.input1": ["two", 0]})
        graph[at]["inputs"][name] = ["list", 0]
        assert f"{name!r} came as a list of 2, but images in 1 batch." in client.run(graph).error


def test_crops_are_saved_under_any_label(client: Client) -> None:
    """Of a long caption the name was too long for the disk; slashes led to other folders, and out of the right one."""
    labels = ["it shows " * 40, "red/blue car", "../car", "/car", "50%: who?", "", "%date%"]
    boxes = [BOX | {"label": label} for label in labels]
    graph = {
        "scene": node("IAA_DemoScene", seed=5, width=SIZE[0], height=SIZE[1]),
        "crop": node("IAA_CropBoxes", image=["scene", 0], bboxes={"__value__": [boxes]}),
        "save": node("SaveImage", images=["crop", 0], filename_prefix=["crop", 5]),
    }
    run = client.run(graph)
    assert run.status == "success", run.error
    saved = [(place["subfolder"], place["filename"].rpartition("_0")[0]) for place in run.outputs["save"]["images"]]
    names = ["it-shows-it-shows-it-shows-it-shows-it-s", "red-blue-car", "car", "car", "50-who", "box", "date"]
    assert saved == [("", name) for name in names]


def test_a_picture_without_boxes_is_numbered_among_all_of_the_list(client: Client) -> None:
    graph = {
        "scene": node("IAA_DemoScene", seed=5, width=SIZE[0], height=SIZE[1], count=3),
        "listed": node("RebatchImages", images=["scene", 0], batch_size=2),
        "one": node("IAA_ConvertBoxes", boxes={"__value__": [[BOX], [BOX]]}),
        "two": node("IAA_ConvertBoxes", boxes={"__value__": [[]]}),
        "boxes": node("CreateList", **{"inputs.input0": ["one", 0], "inputs.input1": ["two", 0]}),
        "crop": node("IAA_CropBoxes", image=["listed", 0], bboxes=["boxes", 0], nothing_found="error"),
        "seen": node("PreviewImage", images=["crop", 0]),
    }
    assert "There are no boxes in image 3 of 3." in client.run(graph).error
