"""ComfyUI's own consumers of boxes, masks and crops, fed by our nodes on a running ComfyUI."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comfyui_server import node

from .conftest import Bench

SIZE = (160, 128)
A = {"x": 8, "y": 16, "width": 64, "height": 72, "label": "left", "score": 0.75}
B = {"x": 80, "y": 40, "width": 64, "height": 72, "label": "right", "score": 0.5}
SIDES = ("x", "y", "width", "height")


def cropped(levels: np.ndarray, box: dict[str, Any]) -> np.ndarray:
    """The pixels of a box."""
    return levels[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]


def painted(boxes: list[dict[str, Any]], size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) uint8, white in the boxes."""
    levels = np.zeros((size[1], size[0], 3), np.uint8)
    for box in boxes:
        cropped(levels, box)[:] = 255
    return levels


def sides(boxes: list[list[dict[str, Any]]]) -> list[list[list[float]]]:
    return [[[box[side] for side in SIDES] for box in found] for found in boxes]


# Boxes into core's nodes ----------------------------------------------------------------------------------------------


def crop_by_bboxes(bench: Bench, boxes: Any, width: int, height: int) -> list[np.ndarray]:
    graph = bench.batch("one.png", "two.png") | bench.boxes(boxes)
    sizes = {"output_width": width, "output_height": height, "padding": 0, "keep_aspect": "stretch"}
    graph["crop"] = node("CropByBBoxes", image=["batch", 0], bboxes=["boxes", 0], **sizes)
    graph["show"] = node("PreviewImage", images=["crop", 0])
    return bench.images(bench.run(graph), "show")


def test_crop_by_bboxes(bench: Bench) -> None:
    one, two = bench.picture("one.png", SIZE), bench.picture("two.png", SIZE)
    shown = crop_by_bboxes(bench, [[A], [B]], 64, 72)
    assert [np.array_equal(*pair) for pair in zip(shown, (cropped(one, A), cropped(two, B)), strict=True)] == [True] * 2
    (union,) = crop_by_bboxes(bench, [[A, B], []], 136, 96)
    assert np.array_equal(union, cropped(one, {"x": 8, "y": 16, "width": 136, "height": 96}))
    flat = crop_by_bboxes(bench, [A], 64, 72)  # a flat list is an error of that node; ours hands on lists per image
    assert [np.array_equal(*pair) for pair in zip(flat, (cropped(one, A), cropped(two, A)), strict=True)] == [True] * 2
    whole = crop_by_bboxes(bench, [[]], 64, 72)
    assert np.array_equal(whole[0], one) and np.array_equal(whole[1], two)


@pytest.mark.parametrize("boxes", [[[A, B], []], [[]], [[], [A]]], ids=["ragged", "none", "second"])
def test_draw_bboxes(bench: Bench, boxes: Any) -> None:
    levels = [bench.picture("one.png", SIZE), bench.picture("two.png", SIZE)]
    graph = bench.batch("one.png", "two.png") | bench.boxes(boxes)
    graph["draw"] = node("DrawBBoxes", image=["batch", 0], bboxes=["boxes", 0])
    graph["show"] = node("PreviewImage", images=["draw", 0])
    for shown, before, found in zip(bench.images(bench.run(graph), "show"), levels, [*boxes, []][:2], strict=True):
        for box in found:
            top = shown[box["y"], box["x"] : box["x"] + box["width"]]
            assert len(np.unique(top, axis=0)) == 1, "one line along the top"
            x, y = box["x"] + box["width"] // 2, box["y"] + box["height"] // 2
            assert np.array_equal(shown[y, x], before[y, x])
        if not found:
            assert np.array_equal(shown, before)


@pytest.mark.parametrize(
    "boxes", [[[A]], [[], [B, A]], [[{**A, "x": 8.4, "width": 63.6}]]], ids=["one", "second", "floats"]
)
def test_image_crop_v2_takes_the_box_of_select_boxes(bench: Bench, boxes: Any) -> None:
    levels = bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes(boxes)
    graph["select"] = node("IAA_SelectBoxes", bboxes=["boxes", 0], order="right to left", limit=1)
    graph["crop"] = node("ImageCropV2", image=["batch", 0], crop_region=["select", 1])
    graph["show"] = node("PreviewImage", images=["crop", 0])
    (shown,) = bench.images(bench.run(graph), "show")
    assert np.array_equal(shown, cropped(levels, A if boxes[0] else B))


def test_nothing_selected_ends_the_branch_and_no_more(bench: Bench) -> None:
    bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes([[A]])
    graph["select"] = node("IAA_SelectBoxes", bboxes=["boxes", 0], labels="nothing of the kind")
    graph["crop"] = node("ImageCropV2", image=["batch", 0], crop_region=["select", 1])
    graph["show"] = node("PreviewImage", images=["crop", 0])
    graph["left"] = node("PreviewAny", source=["select", 0])
    graph["count"] = node("PreviewAny", source=["select", 2])
    done = bench.run(graph)
    assert "show" not in done.outputs and not done.of("execution_error")
    assert bench.value(done, "left") == [[]] and bench.value(done, "count") == 0
    graph["select"]["inputs"]["nothing_left"] = "error"
    failed = bench.client.run(graph)
    assert failed.status == "error" and "None of 1 boxes is left" in failed.error


def test_create_bounding_boxes_keeps_places_and_labels(bench: Bench) -> None:
    bench.needs_core("CreateBoundingBoxes", "bboxes")
    graph = bench.boxes([[A, B]])
    canvas = {"width": SIZE[0], "height": SIZE[1], "editor_state": {"__value__": []}}
    graph["edit"] = node("CreateBoundingBoxes", bboxes=["boxes", 0], **canvas)
    graph |= {"seen": node("PreviewAny", source=["edit", 1]), "elements": node("PreviewAny", source=["edit", 2])}
    done = bench.run(graph)
    assert sides(bench.value(done, "seen")) == sides([[A, B]])
    assert [element["desc"] for element in bench.value(done, "elements")] == ["left", "right"]


@pytest.mark.parametrize("slot", [0, 6], ids=["BOUNDING_BOX", "JSON"])
@pytest.mark.parametrize("numbers", ["xyxy", "0-1000, y first"])
def test_create_bounding_boxes_takes_and_gives(bench: Bench, slot: int, numbers: str) -> None:
    """Ours as boxes or as text, and its own elements, an ARRAY, back."""
    bench.needs_core("CreateBoundingBoxes", "bboxes")
    bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes([[A, B], []])
    graph["convert"] = node("IAA_ConvertBoxes", boxes=["boxes", 0], image=["batch", 0], json_numbers=numbers)
    canvas = {"width": SIZE[0], "height": SIZE[1], "editor_state": {"__value__": []}}
    graph["edit"] = node("CreateBoundingBoxes", bboxes=["convert", slot], **canvas)
    graph["seen"] = node("PreviewAny", source=["edit", 1])
    graph["back"] = node("IAA_ConvertBoxes", boxes=["edit", 2], image=["batch", 0])
    graph["read"] = node("PreviewAny", source=["back", 0])
    graph["whole"] = node("PreviewAny", source=["back", 2])
    done = bench.run(graph)
    assert sides(bench.value(done, "seen")) == sides([[A, B]])
    assert [box["label"] for box in bench.value(done, "read")[0]] == ["left", "right"]
    assert bench.value(done, "whole") == [[[8, 16, 72, 88], [80, 40, 144, 112]]]


def test_a_crop_that_lost_its_background_is_pasted_without_it(bench: Bench) -> None:
    levels = bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes([[A]])
    graph["crop"] = node("IAA_CropBoxes", image=["batch", 0], bboxes=["boxes", 0], padding=8)
    graph["invert"] = node("ImageInvert", image=["crop", 0])
    graph["around"] = node("InvertMask", mask=["crop", 1])
    graph["cut"] = node("JoinImageWithAlpha", image=["invert", 0], alpha=["around", 0])
    graph["paste"] = node("IAA_PasteCrops", image=["batch", 0], crops=["cut", 0], regions=["crop", 2])
    graph["show"] = node("PreviewImage", images=["paste", 0])
    (shown,) = bench.images(bench.run(graph), "show")
    outside = painted([A]) == 0
    assert np.array_equal(shown[outside], levels[outside])
    assert np.abs(cropped(shown, A).astype(int) - (255 - cropped(levels, A).astype(int))).max() <= 1


def test_layers_lie_where_their_crops_were(bench: Bench) -> None:
    bench.needs_core("LayersFromBoundingBoxes", "bboxes")
    levels = bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes([[A, B]])
    graph["crop"] = node("IAA_CropBoxes", image=["batch", 0], bboxes=["boxes", 0])
    graph["crops"] = node("RebatchImages", images=["crop", 0], batch_size=64)
    canvas = {"canvas_width": SIZE[0], "canvas_height": SIZE[1]}
    graph["layers"] = node("LayersFromBoundingBoxes", image=["crops", 0], bboxes=["boxes", 0], **canvas)
    graph["flat"] = node("ImageCompositor", layers=["layers", 0], compositor="")
    graph["show"] = node("PreviewImage", images=["flat", 0])
    (shown,) = bench.images(bench.run(graph), "show")
    for box in (A, B):
        assert np.abs(cropped(shown, box).astype(int) - cropped(levels, box)).max() <= 1


@pytest.mark.parametrize("value", [{"x": 8, "y": 16, "width": 64, "height": 72}])
def test_primitive_bounding_boxes_are_read(bench: Bench, value: dict[str, int]) -> None:
    bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | {"box": node("PrimitiveBoundingBox", **value)}
    graph["mask"] = node("IAA_BoxesToMask", bboxes=["box", 0], image=["batch", 0])
    graph["show"] = node("MaskPreview", mask=["mask", 0])
    assert np.array_equal(bench.images(bench.run(graph), "show")[0], painted([value]))


# Masks into core's nodes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("masks", "expected"),
    [("one per image", [[A, B], [], [A]]), ("one per box", [[A], [B], [A]])],
)
def test_masks_of_a_ragged_batch(bench: Bench, masks: str, expected: Any) -> None:
    for name in ("one.png", "two.png", "three.png"):
        bench.picture(name, SIZE)
    graph = bench.batch("one.png", "two.png", "three.png") | bench.boxes([[A, B], [], [A]])
    graph["mask"] = node("IAA_BoxesToMask", bboxes=["boxes", 0], image=["batch", 0], masks=masks)
    graph["show"] = node("MaskPreview", mask=["mask", 0])
    shown = bench.images(bench.run(graph), "show")
    assert [np.array_equal(*pair) for pair in zip(shown, map(painted, expected), strict=True)] == [True] * 3


@pytest.mark.parametrize("masks", ["one per image", "one per box"])
def test_masks_without_boxes_work_in_core(bench: Bench, masks: str) -> None:
    levels = bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes([[]])
    graph["mask"] = node("IAA_BoxesToMask", bboxes=["boxes", 0], image=["batch", 0], masks=masks, feather=9)
    graph["grown"] = node("GrowMask", mask=["mask", 0], expand=2, tapered_corners=True)
    graph["black"] = node("EmptyImage", width=SIZE[0], height=SIZE[1], batch_size=1, color=0)
    graph["joined"] = node(
        "ImageCompositeMasked",
        destination=["batch", 0],
        source=["black", 0],
        x=0,
        y=0,
        resize_source=False,
        mask=["grown", 0],
    )
    graph["show"] = node("PreviewImage", images=["joined", 0])
    assert np.array_equal(bench.images(bench.run(graph), "show")[0], levels)


# Crops through core's nodes, and back ---------------------------------------------------------------------------------


def crop_and_paste(bench: Bench, boxes: Any, between: str | None, **options: Any) -> tuple[Any, list[np.ndarray]]:
    """Crops of two pictures, worked on by a node, and pasted back; what came of it and the pictures."""
    levels = [bench.picture("one.png", SIZE), bench.picture("two.png", SIZE)]
    graph = bench.batch("one.png", "two.png") | bench.boxes(boxes)
    graph["crop"] = node("IAA_CropBoxes", image=["batch", 0], bboxes=["boxes", 0], **options)
    work = {
        "invert": node("ImageInvert", image=["crop", 0]),
        "double": node("ImageScaleBy", image=["crop", 0], upscale_method="nearest-exact", scale_by=2.0),
    }
    graph |= {name: made for name, made in work.items() if name == between}
    crops = [between or "crop", 0]
    graph["paste"] = node("IAA_PasteCrops", image=["batch", 0], crops=crops, regions=["crop", 2])
    graph["show"] = node("PreviewImage", images=["paste", 0])
    graph["count"] = node("PreviewAny", source=["crop", 3])
    return bench.run(graph), levels


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 50, "padding_unit": "% of the box", "aspect": "1:1", "resize": "longer side", "size": 200},
        {"aspect": "16:9", "multiple_of": 64, "resize": "shorter side", "size": 128, "filter": "bicubic"},
    ],
    ids=["plain", "square", "wide"],
)
def test_untouched_crops_leave_the_batch_as_it_was(bench: Bench, options: dict[str, Any]) -> None:
    done, levels = crop_and_paste(bench, [[A, B], []], None, **options)
    shown = bench.images(done, "show")
    assert bench.value(done, "count") == 2
    assert [np.array_equal(*pair) for pair in zip(shown, levels, strict=True)] == [True, True]


def test_worked_on_crops_land_on_their_boxes(bench: Bench) -> None:
    done, levels = crop_and_paste(bench, [[A], [B]], "invert")
    for shown, before, box in zip(bench.images(done, "show"), levels, (A, B), strict=True):
        expected = before.copy()
        cropped(expected, box)[:] = 255 - cropped(before, box)
        assert np.abs(shown.astype(int) - expected).max() <= 1
        outside = painted([box]) == 0
        assert np.array_equal(shown[outside], before[outside])


def test_crops_of_different_sizes_may_come_back_larger(bench: Bench) -> None:
    done, levels = crop_and_paste(bench, [[A], [{**B, "width": 30}]], "double", filter="area")
    for shown, before in zip(bench.images(done, "show"), levels, strict=True):
        assert np.abs(shown.astype(int) - before).max() <= 1  # twice the size and back


@pytest.mark.parametrize("previews", [False, True], ids=["bare", "with previews"])
def test_without_boxes_images_pass_and_the_branch_rests(bench: Bench, previews: bool) -> None:
    levels = [bench.picture("one.png", SIZE), bench.picture("two.png", SIZE)]
    graph = bench.batch("one.png", "two.png") | bench.boxes([[]])
    graph["crop"] = node("IAA_CropBoxes", image=["batch", 0], bboxes=["boxes", 0])
    graph["invert"] = node("ImageInvert", image=["crop", 0])
    inputs = {"image": ["batch", 0], "crops": ["invert", 0], "regions": ["crop", 2], "masks": ["crop", 1]}
    graph |= {"paste": node("IAA_PasteCrops", **inputs), "show": node("PreviewImage", images=["paste", 0])}
    if previews:
        graph |= {"crops": node("PreviewImage", images=["crop", 0]), "masks": node("MaskPreview", mask=["crop", 1])}
        graph["inverted"] = node("PreviewImage", images=["invert", 0])
    done = bench.run(graph)
    assert [np.array_equal(*pair) for pair in zip(bench.images(done, "show"), levels, strict=True)] == [True, True]
    assert done.outputs.keys().isdisjoint({"crops", "inverted"}) and not done.of("execution_error")
    assert previews or "invert" not in done.executed
    assert not previews or bench.images(done, "masks")[0].max() == 0


def test_what_stands_for_images_without_boxes(bench: Bench) -> None:
    levels = bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes([[]])
    graph["crop"] = node("IAA_CropBoxes", image=["batch", 0], bboxes=["boxes", 0], nothing_found="whole image")
    graph["show"] = node("PreviewImage", images=["crop", 0])
    assert np.array_equal(bench.images(bench.run(graph), "show")[0], levels)
    graph["crop"]["inputs"]["nothing_found"] = "error"
    failed = bench.client.run(graph)
    assert failed.status == "error" and "no boxes in image 1 of 1" in failed.error


def test_lists_of_pictures_of_different_sizes(bench: Bench) -> None:
    """The crops of a first IAA Crop Boxes are such a list; a box without crops in between must not hurt the others."""
    levels = bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes([[A, {**B, "width": 30}]])
    graph["outer"] = node("IAA_CropBoxes", image=["batch", 0], bboxes=["boxes", 0])
    graph["eye"] = node("PrimitiveBoundingBox", x=2, y=3, width=10, height=12)
    graph["inner"] = node("IAA_CropBoxes", image=["outer", 0], bboxes=["eye", 0])
    graph["invert"] = node("ImageInvert", image=["inner", 0])
    graph["inside"] = node("IAA_PasteCrops", image=["outer", 0], crops=["invert", 0], regions=["inner", 2])
    graph["paste"] = node("IAA_PasteCrops", image=["batch", 0], crops=["inside", 0], regions=["outer", 2])
    graph["show"] = node("PreviewImage", images=["paste", 0])
    (shown,) = bench.images(bench.run(graph), "show")
    eyes = [{"x": box["x"] + 2, "y": box["y"] + 3, "width": 10, "height": 12} for box in (A, B)]
    changed = painted(eyes) == 255
    assert np.array_equal(shown[~changed], levels[~changed])
    assert np.abs(shown[changed].astype(int) - (255 - levels[changed].astype(int))).max() <= 1


def test_masks_of_crops_paste_boxes_alone(bench: Bench) -> None:
    levels = bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes([[A]])
    graph["crop"] = node("IAA_CropBoxes", image=["batch", 0], bboxes=["boxes", 0], padding=8)
    graph["invert"] = node("ImageInvert", image=["crop", 0])
    graph["paste"] = node(
        "IAA_PasteCrops", image=["batch", 0], crops=["invert", 0], regions=["crop", 2], masks=["crop", 1]
    )
    graph["show"] = node("PreviewImage", images=["paste", 0])
    (shown,) = bench.images(bench.run(graph), "show")
    outside = painted([A]) == 0
    assert np.array_equal(shown[outside], levels[outside])
    assert np.abs(cropped(shown, A).astype(int) - (255 - cropped(levels, A).astype(int))).max() <= 1


# What our nodes show --------------------------------------------------------------------------------------------------


def test_boxes_are_shown_over_their_pictures(bench: Bench) -> None:
    for name in ("one.png", "two.png"):
        bench.picture(name, SIZE)
    graph = bench.batch("one.png", "two.png") | bench.boxes([[A, B], []])
    graph["merge"] = node("IAA_MergeBoxes", bboxes=["boxes", 0], mode="one around all", image=["batch", 0])
    graph["select"] = node("IAA_SelectBoxes", bboxes=["merge", 0], image=["batch", 0])
    graph["count"] = node("PreviewAny", source=["select", 2])
    done = bench.run(graph)
    assert bench.value(done, "count") == 1
    for name in ("merge", "select"):
        (found, none), pictures = done.outputs[name]["iaa_boxes"], done.outputs[name]["iaa_images"]
        assert none == [] and [(p["width"], p["height"]) for (p,) in pictures] == [SIZE] * 2
        assert sides([found]) == [[[8, 16, 136, 96]]] and found[0]["label"] == "left, right"


def test_ground_feeds_every_box_tool(bench: Bench) -> None:
    graph = {
        "loader": node("IAA_Loader", checkpoint="tiny"),
        "scene": node("IAA_DemoScene", seed=1, width=96, height=64, count=2),
        "ground": node("IAA_Ground", model=["loader", 0], image=["scene", 0], phrases="the star\nthe left one"),
        "select": node("IAA_SelectBoxes", bboxes=["ground", 0], order="best score first", labels="the *"),
        "merge": node("IAA_MergeBoxes", bboxes=["select", 0], mode="all"),
        "mask": node("IAA_BoxesToMask", bboxes=["merge", 0], image=["scene", 0]),
        "crop": node("IAA_CropBoxes", image=["scene", 0], bboxes=["merge", 0]),
        "paste": node("IAA_PasteCrops", image=["scene", 0], crops=["crop", 0], regions=["crop", 2]),
        "show": node("PreviewImage", images=["paste", 0]),
        "scenes": node("PreviewImage", images=["scene", 0]),
        "masks": node("MaskPreview", mask=["mask", 0]),
        "grounded": node("MaskPreview", mask=["ground", 1]),
        "counts": node("PreviewAny", source=["crop", 3]),
    }
    done = bench.run(graph)
    assert bench.value(done, "counts") == sum(map(len, done.outputs["ground"]["iaa_boxes"])) >= 4
    for pair in (("show", "scenes"), ("masks", "grounded")):
        assert all(np.array_equal(a, b) for a, b in zip(*(bench.images(done, name) for name in pair), strict=True))
