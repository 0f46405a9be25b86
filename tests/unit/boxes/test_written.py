"""Answers as language models and detectors print them: what each documents, or what was seen of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from iaa_runtime.boxes.bounding_box import SIDES, corners
from iaa_runtime.boxes.convert import boxes_from
from iaa_runtime.boxes.reader import Y_FIRST
from iaa_runtime.errors import InputError

SIZE = (640, 480)
CAT, DOG = (64, 48, 320, 240), (320, 240, 480, 480)
"""A cat and a dog in a picture of ``SIZE``; in thousandths 100 100 500 500 and 500 500 750 1000."""

# name: the answer, what its numbers mean, and the labels (and scores) of the cat, or of the cat and the dog
ANSWERS: dict[str, tuple[str, str, list[Any]]] = {
    "Qwen2.5-VL": (
        '```json\n[\n\t{"bbox_2d": [64, 48, 320, 240], "label": "cat"},\n\t{"bbox_2d": [320, 240, 480, 480], "label": '
        '"dog"}\n]\n```',
        "xyxy",
        ["cat", "dog"],
    ),
    "Qwen2.5-VL, text in pictures": (
        '[{"bbox_2d": [64, 48, 320, 240], "text_content": "SALE"}]',
        "xyxy",
        ["SALE"],
    ),
    "Qwen2.5-VL, an object a line": (
        'There are two:\n{"bbox_2d": [64, 48, 320, 240], "label": "cat"}\n{"bbox_2d": [320, 240, 480, 480], "label": '
        '"dog"}',
        "xyxy",
        ["cat", "dog"],
    ),
    "Qwen3-VL that thinks": (
        'It may be at [12, 30, 90, 140].</think>\n\n```json\n[{"bbox_2d": [100, 100, 500, 500], "label": "cat"}]\n```',
        "0-1000",
        ["cat"],
    ),
    "Qwen2-VL": (
        "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(100,100),(500,500)<|box_end|><|im_end|>",
        "xyxy",
        ["cat"],
    ),
    "Qwen-VL": (
        "<ref> cat</ref><box>(100,100),(500,500)</box> and <ref>dog</ref><box>(500,500),(750,1000)</box>",
        "xyxy",
        ["cat", "dog"],
    ),
    "InternVL": (
        "<ref>pets</ref><box>[[100, 100, 500, 500], [500, 500, 750, 1000]]</box>",
        "xyxy",
        ["pets", "pets"],
    ),
    "MiniCPM-V": ("<ref>cat</ref><box>100 100 500 500</box>", "xyxy", ["cat"]),
    "DeepSeek-VL2": (
        "<|ref|>cat<|/ref|><|det|>[[100, 100, 500, 500]]<|/det|><｜end▁of▁sentence｜>",
        "xyxy",
        ["cat"],
    ),
    "Seed1.5-VL": ("The cat: <bbox>100 100 500 500</bbox>", "xyxy", [""]),
    "GLM-4.5V": ("It is at <|begin_of_box|>[[100,100,500,500]]<|end_of_box|>.", "0-1000", [None]),
    "CogVLM": ("A cat [[100,100,500,500]] sits.", "0-1000", [None]),
    "Ferret": ("A cat [100, 100, 500, 500] looks at a dog [500, 500, 750, 1000].", "0-1000", [None, None]),
    "Shikra": ("The cat [0.100,0.100,0.500,0.500] sits.", "0-1", [None]),
    "Kimi-VL": ('{"bbox_2d": [0.100, 0.100, 0.500, 0.500]}', "0-1", [None]),
    "Gemini": (
        '```json\n[\n  {"box_2d": [100, 100, 500, 500], "label": "cat"},\n  {"box_2d": [500, 500, 1000, 750], "label": '
        '"dog"}\n]\n```',
        "xyxy",
        ["cat", "dog"],
    ),
    "Gemini, masks": (
        '[{"box_2d": [100, 100, 500, 500], "mask": "data:image/png;base64,iVBORw0KG=", "label": "cat"}]',
        "xyxy",
        ["cat"],
    ),
    "Gemini, lists": ("[[100, 100, 500, 500], [500, 500, 1000, 750]]", Y_FIRST, [None, None]),
    "PaliGemma": (
        "<loc0102><loc0102><loc0512><loc0512> cat ; <loc0512><loc0512><loc1024><loc0768> dog",
        "xyxy",
        ["cat", "dog"],
    ),
    "PaliGemma, segments": (
        "<loc0102><loc0102><loc0512><loc0512><seg045><seg122><seg003> cat",
        "xyxy",
        ["cat"],
    ),
    "Florence-2": (
        "</s><s>cat<loc_100><loc_100><loc_500><loc_500>dog<loc_500><loc_500><loc_750><loc_1000></s>",
        "xyxy",
        ["cat", "dog"],
    ),
    "Florence-2, processed": (
        "{'<OD>': {'bboxes': [[64.0, 48.0, 320.0, 240.0], [320.0, 240.0, 480.0, 480.0]], 'labels': ['cat', 'dog']}}",
        "xyxy",
        ["cat", "dog"],
    ),
    "Moondream": (
        '{"objects": [{"x_min": 0.1, "y_min": 0.1, "x_max": 0.5, "y_max": 0.5}]}',
        "0-1",
        [None],
    ),
    "GPT": (
        'Sure! Here are the bounding boxes:\n\n```json\n{\n  "objects": [\n    {\n      "name": "cat",\n      '
        '"bounding_box": {"x": 64, "y": 48, "width": 256, "height": 192},\n      "confidence": 0.75\n    },\n'
        "  ]\n}\n```\n\nLet me know if {anything} is unclear [or wrong].",
        "xyxy",
        [("cat", 0.75)],
    ),
    "GPT, edges": (
        '{"boxes": [{"label": "cat", "left": 64, "top": 48, "right": 320, "bottom": 240}]}',
        "xyxy",
        ["cat"],
    ),
    "GPT, Python": (
        "boxes = [{'label': 'the cat\\'s', 'bbox': (64, 48, 320, 240)}, {'label': \"it's\", 'bbox': (320, 240, 480, "
        "480), 'score': None},]",
        "xyxy",
        ["the cat's", "it's"],
    ),
    "GPT, w and h": ('[{"class": "cat", "x": 64, "y": 48, "w": 256, "h": 192}]', "xyxy", ["cat"]),
    "Grounding DINO": (
        "[{'scores': tensor([0.7500, 0.5000], device='cuda:0'), 'boxes': tensor([[ 64.0000,  48.0000, 320.0000, "
        "240.0000],\n        [320., 240., 480., 480.]], device='cuda:0'), 'text_labels': ['cat', 'dog'], "
        "'labels': ['cat', 'dog']}]",
        "xyxy",
        [("cat", 0.75), ("dog", 0.5)],
    ),
    "Grounding DINO, NumPy 2": (
        "[{'scores': [np.float32(0.75)], 'boxes': [[np.float64(64.0), np.int64(48), np.float64(320.), 240]], "
        "'labels': ['cat']}]",
        "xyxy",
        [("cat", 0.75)],
    ),
    "DETR": (
        "[{'score': 0.75, 'label': 'cat', 'box': {'xmin': 64, 'ymin': 48, 'xmax': 320, 'ymax': 240}}]",
        "xyxy",
        [("cat", 0.75)],
    ),
    "YOLO": (
        '[{"name": "cat", "class": 0, "confidence": 0.75, "box": {"x1": 64.0, "y1": 48.0, "x2": 320.0, "y2": 240.0}}]',
        "xyxy",
        [("cat", 0.75)],
    ),
    "COCO": (
        '[{"image_id": 42, "category_id": 18, "bbox": [64.0, 48.0, 256.0, 192.0], "score": 0.75}]',
        "xywh",
        [(None, 0.75)],
    ),
    "ComfyUI's elements": (
        '[{"type": "text", "bbox": [100, 100, 500, 500], "text": "SALE", "desc": "red letters", "color_palette": []}]',
        "xyxy",
        ["red letters"],
    ),
    "IAA": (
        '{"image": "a.png", "detections": [{"x": 64, "y": 48, "width": 256, "height": 192, "label": "cat", "score": '
        "0.75}]}",
        "0-1000",
        [("cat", 0.75)],
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read(name: str) -> None:
    text, convention, expected = ANSWERS[name]
    (found,) = boxes_from(text, convention, SIZE)
    assert len(found) == len(expected)
    for box, place, said in zip(found, (CAT, DOG), expected, strict=False):
        assert corners(box) == pytest.approx(place, abs=0.5)
        said = said if isinstance(said, tuple) else (said, None)
        assert (box.get("label") or None, box.get("score")) == (said[0] or None, said[1])


def test_lines_of_our_command_are_an_image_each() -> None:
    line = ANSWERS["IAA"][0]
    assert [len(found) for found in boxes_from(f'{line}\n{{"image": "b.png", "detections": []}}\n{line}')] == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('<points x1="63.5" y1="44.5" alt="cats">cats</points>', "not JSON"),
        ('{"point_2d": [12, 30], "label": "cat"}', "neither x, y, width and height"),
        ("There is no cat in the picture.", "not JSON"),
        ('```json\n[{"bbox_2d": [64, 48, 320, 240], "label": "cat"}, {"bbox_2d": [320, 24', "breaks off"),
        ("[{'label': 'the cat's', 'bbox': [1, 2, 3, 4]}]", "breaks off or is wrong"),
        ("[[1, 2, 3, 4}", "breaks off or is wrong"),
        ("[(1, 2, 3, 4]]", "breaks off or is wrong"),
        ("<ref>cat</ref><box>(100,100),(500</box>", "holds 3 numbers"),
        ("<|ref|>cat<|/ref|><|det|>[[220, <|ref|>cat<|/ref|><|det|>[[220, 416, 417, 720]]<|/det|>", "holds 1 numbers"),
        ("SALE<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>", "8 numbers in a row"),
        ("[1, 2, 3, 4] and {'bbox': [1, 2, 3, 4]}", "several JSON values"),
        ("[[1, 2, 3, 4]] or [[5, 6, 7, 8]]", "several JSON values"),
        ('{"bbox": {"bbox": {"bbox": [1, 2, 3, 4]}}}', "nor two corners"),
        ('[{"label": "cat", "confidence": "high", "bbox": [1, 2, 3, 4]}]', "'score' of box 1"),
        ("x = [" + "(" * 200, "nested too deeply"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_box_or_could_mean_two_things_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        boxes_from(text, "xyxy", SIZE)


@pytest.mark.parametrize("name", ["Gemini", "Qwen2-VL", "PaliGemma", "Florence-2", "ComfyUI's elements"])
def test_what_counts_in_parts_needs_the_size(name: str) -> None:
    with pytest.raises(InputError, match="connect the image"):
        boxes_from(ANSWERS[name][0])


@pytest.mark.parametrize("unit", ["'\\", '"\\', "[' ", "<box>1 ", "<loc_1>x", "<ref>", "9.", ", a=", "[,", "(", "//"])
def test_odd_texts_take_linear_time(unit: str) -> None:
    """Four times the text takes about four times as long; were it sixteen times, this would not end."""
    with pytest.raises(InputError):
        boxes_from("So [x, {'" + unit * 300_000)


@pytest.mark.parametrize("box", ["{'bbox': [1, 2, 3, 4]}\n", "[1, 2, 3, 4,]; ", "<box>1 2 3 4</box>"])
def test_boxes_after_much_prose_take_linear_time(box: str) -> None:
    """Counting the lines of the text for each box, as an error of Python's json does, took seconds."""
    begun = time.process_time()
    (found,) = boxes_from("x" * 3_000_000 + box * 3_000, "xyxy", SIZE)
    assert len(found) == 3_000 and time.process_time() - begun < 2


def test_named_sides_go_before_numbers_beside_them() -> None:
    box = dict(zip(SIDES, (1, 2, 3, 4), strict=True))
    assert boxes_from({**box, "bbox": [100, 200, 300, 400], "label": "cat"}, "0-1") == [[{**box, "label": "cat"}]]
