"""What we give to other packs: the shapes they take, and their own nodes where they are installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from comfyui_server import PromptError, node

from .conftest import PROJECT, Bench
from .test_core import SIZE, A, B, cropped, painted, sides

KJ, SAM2 = "ComfyUI-KJNodes", "ComfyUI-segment-anything-2"
LAYERSTYLE, IMPACT = "ComfyUI_LayerStyle_Advance", "ComfyUI-Impact-Pack"
Needs = Callable[[str, str], None]

XYWH = [[8, 16, 64, 72], [80, 40, 64, 72]]
XYXY = [[8, 16, 72, 88], [80, 40, 144, 112]]
EDITORS = {"type": "obj", "text": "", "palette": []}


def convert(bench: Bench, boxes: Any, **options: Any) -> dict[str, Any]:
    """A graph of boxes, a picture of SIZE, and their conversion ``["converted", 0]``."""
    bench.picture("one.png", SIZE)
    graph = bench.batch("one.png") | bench.boxes(boxes)
    return graph | {"converted": node("IAA_ConvertBoxes", boxes=["boxes", 0], image=["batch", 0], **options)}


def read_back(graph: dict[str, Any], source: list[Any], **options: Any) -> None:
    """Adds nodes that read a format and show it as ``back``."""
    graph["read"] = node("IAA_ConvertBoxes", boxes=source, **options)
    graph["back"] = node("PreviewAny", source=["read", 0])


# Shapes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "slot", "shape"),
    [
        ({}, 1, XYWH),
        ({"bbox_for": "KJNodes, xyxy"}, 1, XYXY),
        ({"bbox_for": "segment-anything-2"}, 1, [XYXY, []]),
        ({}, 2, [XYXY, []]),
        ({}, 3, XYXY[0]),
        ({}, 5, [XYXY, []]),
        (
            {"json_numbers": "0-1000"},
            6,
            [
                [
                    {"bbox": [50, 125, 450, 688], **A, "metadata": EDITORS | {"desc": "left"}},
                    {"bbox": [500, 312, 900, 875], **B, "metadata": EDITORS | {"desc": "right"}},
                ],
                [],
            ],
        ),
    ],
    ids=["KJNodes", "KJNodes xyxy", "SAM2", "LayerStyle", "LayerStyle BOX", "Florence2", "JSON"],
)
def test_shapes(bench: Bench, options: dict[str, Any], slot: int, shape: Any) -> None:
    graph = convert(bench, [[A, B], []], **options)
    graph["show"] = node("PreviewAny", source=["converted", slot])
    assert bench.value(bench.run(graph), "show") == shape


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, [[{"x": 40, "y": 52}, {"x": 112, "y": 76}], []]),
        ({"points_for": "each box"}, [[{"x": 40, "y": 52}], [{"x": 112, "y": 76}]]),
        (
            {"points_for": "each box", "points_per_side": 2},
            [
                [{"x": x, "y": y} for y in (40, 64) for x in (29, 50)],
                [{"x": x, "y": y} for y in (64, 88) for x in (101, 122)],
            ],
        ),
    ],
    ids=["image", "box", "grid"],
)
def test_points(bench: Bench, options: dict[str, Any], texts: Any) -> None:
    """As texts of SAM3_Detect's positive_coords and the segment-anything-2 nodes' coordinates_positive."""
    graph = convert(bench, [[A, B], []], **options)
    graph["show"] = node("PreviewAny", source=["converted", 8])
    assert bench.value(bench.run(graph), "show") == texts


def test_points_go_with_their_images_and_without_boxes_nothing_runs(bench: Bench) -> None:
    bench.picture("one.png", SIZE)
    bench.picture("two.png", SIZE)
    graph = bench.batch("one.png", "two.png") | bench.boxes([A])
    graph["converted"] = node("IAA_ConvertBoxes", boxes=["boxes", 0], image=["batch", 0])
    graph["show"] = node("PreviewAny", source=["converted", 8])
    assert bench.value(bench.run(graph), "show") == [[{"x": 40, "y": 52}]] * 2
    graph |= bench.boxes([])
    graph["converted"]["inputs"]["points_for"] = "each box"
    graph["other"] = node("PreviewAny", source=["converted", 5])
    assert set(bench.run(graph).outputs) & {"show", "other"} == {"other"}


@pytest.mark.parametrize("slot", [0, 2, 5, 6], ids=["BOUNDING_BOX", "LayerStyle", "Florence2", "JSON"])
def test_batches_come_back_image_by_image(bench: Bench, slot: int) -> None:
    graph = convert(bench, [[A], [], [B, A]])
    read_back(graph, ["converted", slot])
    assert sides(bench.value(bench.run(graph), "back")) == sides([[A], [], [B, A]])


def test_no_boxes_in_any_format(bench: Bench) -> None:
    graph = convert(bench, [[]])
    for slot in (1, 2, 5, 6):
        graph[f"show{slot}"] = node("PreviewAny", source=["converted", slot])
    graph["box"] = node("PreviewAny", source=["converted", 3])
    done = bench.run(graph)
    assert [bench.value(done, f"show{slot}") for slot in (1, 2, 5, 6)] == [[], [[]], [[]], [[]]]
    assert "box" not in done.outputs, "there is no first box, so what wants it is not run"


def test_segs_need_a_picture_and_say_so(bench: Bench) -> None:
    graph = bench.boxes([[A]])
    graph["converted"] = node("IAA_ConvertBoxes", boxes=["boxes", 0])
    graph["other"] = node("PreviewAny", source=["converted", 2])
    assert bench.value(bench.run(graph), "other") == [XYXY[:1]]
    graph["segs"] = node("PreviewAny", source=["converted", 4])
    assert "connect the image" in bench.client.run(graph).of("execution_error")[0]["exception_message"]


# KJNodes --------------------------------------------------------------------------------------------------------------


def test_kjnodes_counts_our_boxes(bench: Bench, needs: Needs) -> None:
    needs(KJ, "BboxToInt")
    graph = convert(bench, [[A], [], [B]])
    graph["ints"] = node("BboxToInt", bboxes=["converted", 1], index=1)
    graph["height"] = node("PreviewAny", source=["ints", 3])
    graph["centre"] = node("PreviewAny", source=["ints", 4])
    graph["one"] = node("BBOXToBoundingBoxKJ", bbox=["converted", 1], bbox_format="xywh", index=1)
    read_back(graph, ["one", 0])
    done = bench.run(graph)
    assert (bench.value(done, "height"), bench.value(done, "centre")) == (72, 112)
    assert sides(bench.value(done, "back")) == [XYWH[1:]]


def test_kjnodes_gives_boxes_back(bench: Bench, needs: Needs) -> None:
    needs(KJ, "SplitBboxes")
    graph = convert(bench, [[A], [B]])
    graph["split"] = node("SplitBboxes", bboxes=["converted", 1], index=5)
    read_back(graph, ["split", 0], numbers="xywh", a_list_holds="one box of each image")
    assert sides(bench.value(bench.run(graph), "back")) == sides([[A], [B]])


def test_kjnodes_pastes_into_our_boxes(bench: Bench, needs: Needs) -> None:
    needs(KJ, "ImageUncropByMask")
    graph = convert(bench, [[A]], bbox_for="KJNodes, xyxy")
    graph["red"] = node("EmptyImage", width=8, height=8, batch_size=1, color=0xFF0000)
    graph["all"] = node("SolidMask", value=1.0, width=8, height=8)
    inputs = {"destination": ["batch", 0], "source": ["red", 0], "mask": ["all", 0], "bbox": ["converted", 1]}
    graph |= {"uncrop": node("ImageUncropByMask", **inputs), "show": node("PreviewImage", images=["uncrop", 0])}
    (shown,) = bench.images(bench.run(graph), "show")
    red = (shown == [255, 0, 0]).all(axis=-1)
    assert np.array_equal(red, painted([A])[..., 0] == 255)


def test_kjnodes_draws_our_boxes(bench: Bench, needs: Needs) -> None:
    needs(KJ, "BboxVisualize")
    graph = convert(bench, [[A]])
    inputs = {"images": ["batch", 0], "bboxes": ["converted", 1], "line_width": 1, "bbox_format": "xywh"}
    graph |= {"draw": node("BboxVisualize", **inputs), "show": node("PreviewImage", images=["draw", 0])}
    (shown,) = bench.images(bench.run(graph), "show")
    assert (shown[16, 8:72] == [255, 0, 0]).all() and (shown[16:88, 8] == [255, 0, 0]).all()


# Florence2 and segment-anything-2 -------------------------------------------------------------------------------------


def test_florence2_coordinates(bench: Bench, needs: Needs) -> None:
    needs(SAM2, "Florence2toCoordinates")
    graph = convert(bench, [[A, B]])
    graph["points"] = node("Florence2toCoordinates", data=["converted", 5], index="0,1", batch=False)
    graph["centres"] = node("PreviewAny", source=["points", 0])
    read_back(graph, ["points", 1])
    done = bench.run(graph)
    assert bench.value(done, "centres") == [{"x": 40, "y": 52}, {"x": 112, "y": 76}]
    assert sides(bench.value(done, "back")) == sides([[A, B]])


# LayerStyle -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boxes", [[[A, B]], [[]]], ids=["two", "none"])
def test_layerstyle_masks_our_boxes(bench: Bench, needs: Needs, boxes: Any) -> None:
    needs(LAYERSTYLE, "LayerMask: DrawBBoxMask")
    graph = convert(bench, boxes)
    grow = {f"grow_{side}": 0 for side in ("top", "bottom", "left", "right")}
    graph["draw"] = node("LayerMask: DrawBBoxMask", image=["batch", 0], bboxes=["converted", 2], **grow)
    graph["show"] = node("MaskPreview", mask=["draw", 0])
    (shown,) = bench.images(bench.run(graph), "show")
    # It takes the right and bottom edge for the last pixel inside.
    wider = [{**box, "width": box["width"] + 1, "height": box["height"] + 1} for box in boxes[0]]
    assert np.array_equal(shown, painted(wider))


def test_layerstyle_joins_our_boxes_without_harm_to_them(bench: Bench, needs: Needs) -> None:
    needs(LAYERSTYLE, "LayerMask: BBoxJoin")
    graph = convert(bench, [[A]])
    graph["more"] = node("IAA_ConvertBoxes", boxes=["boxes", 0])
    graph["join"] = node("LayerMask: BBoxJoin", bboxes_1=["converted", 2], bboxes_2=["more", 2])
    graph["native"] = node("PreviewAny", source=["converted", 0])
    read_back(graph, ["join", 0])
    done = bench.run(graph)
    assert sides(bench.value(done, "back")) == sides([[A, A]])
    assert sides(bench.value(done, "native")) == sides([[A]]), "joining changes its input, which is ours"


# Impact Pack ----------------------------------------------------------------------------------------------------------


def test_impact_masks_and_crops_our_segs(bench: Bench, needs: Needs) -> None:
    needs(IMPACT, "SegsToCombinedMask")
    levels = bench.picture("one.png", SIZE)
    graph = convert(bench, [[A, B]], crop_factor=1.0)
    graph |= {"mask": node("SegsToCombinedMask", segs=["converted", 4]), "masks": node("MaskPreview", mask=["mask", 0])}
    graph["right"] = node("ImpactSEGSLabelFilter", segs=["converted", 4], preset="all", labels="right")
    graph["crops"] = node("SEGSToImageList", segs=["right", 0])
    graph["show"] = node("PreviewImage", images=["crops", 0])
    read_back(graph, ["right", 1])
    done = bench.run(graph)
    assert np.array_equal(bench.images(done, "masks")[0], painted([A, B]))
    assert np.array_equal(bench.images(done, "show")[0], cropped(levels, B))
    assert [{k: v for k, v in box.items() if k != "metadata"} for box in bench.value(done, "back")[0]] == [A]


def test_impact_works_on_each_image_with_its_own_segs(bench: Bench, needs: Needs) -> None:
    needs(IMPACT, "SEGSPaste")
    levels = [bench.picture(name, SIZE) for name in ("one.png", "two.png")]
    graph = bench.batch("one.png", "two.png") | bench.boxes([[A], [B]])
    graph["converted"] = node("IAA_ConvertBoxes", boxes=["boxes", 0], image=["batch", 0], crop_factor=1.0)
    graph["inverted"] = node("ImageInvert", image=["converted", 7])
    graph["paste"] = node("SEGSPaste", image=["inverted", 0], segs=["converted", 4], feather=0, alpha=255)
    graph["show"] = node("PreviewImage", images=["paste", 0])
    for shown, before, box in zip(bench.images(bench.run(graph), "show"), levels, (A, B), strict=True):
        expected = 255 - before
        cropped(expected, box)[:] = cropped(before, box)
        assert np.abs(shown.astype(int) - expected).max() <= 1


def test_impact_takes_an_image_without_boxes(bench: Bench, needs: Needs) -> None:
    needs(IMPACT, "SegsToCombinedMask")
    graph = convert(bench, [[]])
    graph |= {"mask": node("SegsToCombinedMask", segs=["converted", 4]), "masks": node("MaskPreview", mask=["mask", 0])}
    assert bench.images(bench.run(graph), "masks")[0].max() == 0


def test_impact_takes_the_workflow_that_is_made_for_it(bench: Bench, needs: Needs) -> None:
    """The detailer of our template gets the types and values that it wants: nothing but the weights is missing."""
    needs(IMPACT, "DetailerForEach")
    file = PROJECT / "workflows" / "api" / "ground_impact_detailer.json"
    with pytest.raises(PromptError) as refused:
        bench.client.run(json.loads(file.read_text(encoding="utf-8")))
    (missing,) = refused.value.answer["node_errors"].values()
    assert missing["class_type"] == "CheckpointLoaderSimple"


def detector(bench: Bench, count: int = 1, **options: Any) -> dict[str, Any]:
    """A scene, a detector ``["detector", 0]``, and what IAA Ground finds by itself."""
    scene = node("IAA_DemoScene", seed=3, width=96, height=64, count=count)
    asked = {"model": ["loader", 0], "phrases": "everything\nthe left one"} | options
    return {
        "loader": node("IAA_Loader", checkpoint="tiny"),
        "scene": scene,
        "detector": node("IAA_DetectorProvider", **asked),
        "ground": node("IAA_Ground", image=["scene", 0], **asked),
        "grounded": node("PreviewAny", source=["ground", 0]),
        "expected": node("MaskPreview", mask=["ground", 1]),
    }


def test_impact_detects_with_our_model(bench: Bench, needs: Needs) -> None:
    needs(IMPACT, "BboxDetectorSEGS")
    graph = detector(bench)
    taken = {"threshold": 0.0, "dilation": 0, "crop_factor": 2.0, "drop_size": 1, "labels": "all"}
    graph["detect"] = node("BboxDetectorSEGS", bbox_detector=["detector", 0], image=["scene", 0], **taken)
    graph["combined"] = node(
        "BboxDetectorCombined_v2", bbox_detector=["detector", 0], image=["scene", 0], threshold=0.0, dilation=0
    )
    graph["mask"] = node("MaskPreview", mask=["combined", 0])
    read_back(graph, ["detect", 0])
    done = bench.run(graph)
    found, (wanted,) = bench.value(done, "back"), bench.value(done, "grounded")
    large = [box for box in wanted if min(box["width"], box["height"]) > 1]
    assert large and sides(found) == sides([large])
    assert [(b["label"], b["score"]) for b in found[0]] == [(b["label"], b["score"]) for b in large]
    assert np.array_equal(bench.images(done, "mask")[0], bench.images(done, "expected")[0])


def test_thresholds_of_both_sides_count(bench: Bench, needs: Needs) -> None:
    needs(IMPACT, "BboxDetectorCombined_v2")
    for ours, theirs in ((0.0, 1.0), (1.0, 0.0)):
        graph = detector(bench, threshold=ours)
        graph["combined"] = node(
            "BboxDetectorCombined_v2", bbox_detector=["detector", 0], image=["scene", 0], threshold=theirs, dilation=4
        )
        graph["mask"] = node("MaskPreview", mask=["combined", 0])
        assert bench.images(bench.run(graph), "mask")[0].max() == 0


def test_detectors_refuse_batches(bench: Bench, needs: Needs) -> None:
    needs(IMPACT, "BboxDetectorCombined_v2")
    graph = detector(bench, count=2)
    graph["combined"] = node(
        "BboxDetectorCombined_v2", bbox_detector=["detector", 0], image=["scene", 0], threshold=0.0, dilation=4
    )
    graph["mask"] = node("MaskPreview", mask=["combined", 0])
    assert "one image at a time, and 2 came" in bench.client.run(graph).error
    graph["list"] = node("ImpactImageBatchToImageList", image=["scene", 0])
    graph["combined"]["inputs"]["image"] = ["list", 0]
    assert bench.run(graph).outputs["mask"]
