"""Examples are read from every form of data, and wrong rows are told of by name."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iaa_runtime.boxes.answers import parse_boxes
from iaa_runtime.boxes.geometry import unpad_box
from iaa_runtime.config import Task
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.errors import InputError
from iaa_runtime.teaching.examples import Example, box_answer, checked, split
from iaa_runtime.teaching.formats import read_examples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures: ``a.png`` of 80 x 40 and ``b.png`` of 50 x 50."""
    Image.new("RGB", (80, 40), "red").save(tmp_path / "a.png")
    Image.new("RGB", (50, 50), "blue").save(tmp_path / "b.png")
    return tmp_path


def write(path: Path, data: Any) -> Path:
    lines = path.suffix == ".jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in data) if lines else json.dumps(data))
    return path


def coco(**changes: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 80, "height": 40},
            {"id": 2, "file_name": "b.png", "width": 50, "height": 50},
        ],
        "categories": [{"id": 7, "name": "the cat"}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "bbox": [40, 10, 20, 10]},
            {"image_id": 1, "category_id": 7, "bbox": [5, 10, 20, 10]},
        ],
    } | changes


def test_coco_groups_boxes_by_picture_and_category(folder: Path) -> None:
    shown, absent = checked(read_examples(write(folder / "d.json", coco()), Task.G), Task.G)
    assert (shown.asked, shown.boxes) == ("the cat", ((40, 10, 60, 20), (5, 10, 25, 20)))
    assert (absent.asked, absent.boxes) == ("the cat", ())


def test_where_coco_says_crowd_nothing_is_known_of_its_category(folder: Path) -> None:
    """Neither that it is absent, nor that the boxes are all there are."""
    box = {"category_id": 7, "bbox": [1, 1, 5, 5]}
    crowd = {"image_id": 1, "iscrowd": 1, "segmentation": {"counts": [1], "size": [9, 9]}}
    for more in ([], [box | {"image_id": 1}]):
        data = coco(annotations=[box | {"image_id": 2}, box | crowd, *more])
        (example,) = checked(read_examples(write(folder / "d.json", data), Task.G), Task.G)
        assert (example.image, example.boxes) == (folder / "b.png", ((1, 1, 6, 6),))


def test_coco_polygons_without_a_box_are_boxed(folder: Path) -> None:
    row = {"image_id": 1, "category_id": 7, "segmentation": [[5, 10, 20, 12, 9, 30], [30.5, 11, 12, 14, 13, 15]]}
    found = checked(read_examples(write(folder / "d.json", coco(annotations=[row])), Task.G), Task.G)
    assert [e.boxes for e in found] == [((5, 10, 30.5, 30),), ()]
    for wrong in ([], [[]], [[1, 2, 3]], [["1", 2]], {"counts": "x"}, [5], [[1, float("nan")]]):
        data = coco(annotations=[row | {"segmentation": wrong}])
        with pytest.raises(InputError, match=r"annotation 1: (it has no 'bbox'|the box is)"):
            read_examples(write(folder / "d.json", data), Task.G)


def test_one_phrase_spelled_twice_is_one_thing(folder: Path) -> None:
    names = [{"id": 7, "name": "the cat"}, {"id": 8, "name": "the cat."}]
    boxes = [
        {"image_id": 1, "category_id": category, "bbox": box}
        for category, box in ((7, [1, 1, 5, 5]), (8, [1, 1, 5, 5]), (8, [9, 9, 5, 5]))
    ]
    found = checked(read_examples(write(folder / "d.json", coco(categories=names, annotations=boxes)), Task.G), Task.G)
    assert [e.boxes for e in found] == [((1, 1, 6, 6), (9, 9, 14, 14)), ()]


def test_capital_letters_make_no_other_thing(folder: Path) -> None:
    """Each picture would lack what the other's phrase calls so."""
    box = {"x": 1, "y": 2, "width": 3, "height": 4}
    rows = [
        {"image": f"{name}.png", "detections": [box | {"label": label} for label in labels]}
        for name, labels in (("a", ["the cat", "THE CAT"]), ("b", ["The cat"]))
    ]
    found = checked(read_examples(write(folder / "d.jsonl", rows), Task.G), Task.G)
    assert [(e.asked, len(e.boxes)) for e in found] == [("the cat", 1), ("the cat", 1)]


def test_coco_captions_are_for_mm(folder: Path) -> None:
    for categories in ([], None):
        data = coco(annotations=[{"image_id": 2, "caption": "Blue."}], categories=categories)
        (example,) = checked(read_examples(write(folder / "d.json", data), Task.MM), Task.MM)
        assert (example.image, example.answer) == (folder / "b.png", "Blue.")


def test_published_lines_of_one_expression_belong_together(folder: Path) -> None:
    rows = [
        {"sent_id": n, "expression": "cats", "img_path": "a.png", "bbox": box, "width": 80, "height": 40}
        for n, box in enumerate([[1, 1, 9, 9], [20, 1, 30, 9]])
    ]
    (example,) = checked(read_examples(write(folder / "d.jsonl", rows), Task.G), Task.G)
    assert example.boxes == ((1, 1, 9, 9), (20, 1, 30, 9))


def test_every_published_line_is_held_to_its_own_size(folder: Path) -> None:
    row = {"expression": "cats", "img_path": "a.png", "bbox": [1, 1, 9, 9], "width": 80, "height": 40}
    wrong = [row | {"sent_id": 1, "width": 800, "height": 400}, row | {"sent_id": 2}]
    outside = [row | {"sent_id": 1, "bbox": [70, 1, 99, 9]}, row | {"sent_id": 2}]
    for rows, complaint in ((wrong, "sent_id 1: the row says 800 x 400"), (outside, "sent_id 1: the box from")):
        with pytest.raises(InputError, match=complaint):
            checked(read_examples(write(folder / "d.jsonl", rows), Task.G), Task.G)


def test_lines_of_annotate_are_read_and_errors_left_out(folder: Path) -> None:
    box = {"x": 1, "y": 2, "width": 3, "height": 4, "label": "cat", "score": 0.5}
    rows = [
        {"image": "a.png", "width": 80, "height": 40, "detections": [box], "caption": "Red."},
        {"image": "b.png", "width": 50, "height": 50, "detections": [], "caption": "Blue."},
        {"image": "c.png", "error": "broken"},
    ]
    path = write(folder / "d.jsonl", rows)
    assert [e.boxes for e in checked(read_examples(path, Task.G), Task.G)] == [((1, 2, 4, 6),), ()]
    assert [e.answer for e in checked(read_examples(path, Task.MM), Task.MM)] == ["Red.", "Blue."]


def test_a_picture_lacks_what_was_looked_for_there_alone(folder: Path) -> None:
    """Phrases that a list gives one picture are not absent from the others; a box that someone added counts."""
    box = {"x": 1, "y": 2, "width": 3, "height": 4, "score": 0.5}
    rows = [
        {"image": "a.png", "phrases": ["cat", "dog"], "detections": [box | {"label": "cat"}, box | {"label": "mouse"}]},
        {"image": "b.png", "phrases": [], "detections": []},
        {"image": "b.png", "phrases": ["bird"], "detections": []},
        {"image": "a.png", "detections": []},
    ]
    found = [(e.image.name, e.asked, len(e.boxes)) for e in read_examples(write(folder / "d.jsonl", rows), Task.G)]
    first = [("a.png", "cat", 1), ("a.png", "dog", 0), ("a.png", "mouse", 1), ("b.png", "bird", 0)]
    assert found == [*first, ("a.png", "cat", 0), ("a.png", "mouse", 0)]
    path = write(folder / "e.jsonl", [{"image": "a.png", "phrases": [5], "detections": []}])
    with pytest.raises(InputError, match="line 1: 'phrases' is 5"):
        read_examples(path, Task.G)


def test_llava_conversations_are_learned_turn_by_turn(folder: Path) -> None:
    talk = ["<image>\nWhat is it?", "Red.", "Sure?", "Yes."]
    turns = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(talk)]
    for name in ("d.json", "d.jsonl"):
        first, second = read_examples(write(folder / name, [{"image": "a.png", "conversations": turns}]), Task.MM)
        assert (first.asked, first.answer, first.before) == ("What is it?", "Red.", ())
        assert (second.asked, second.answer, second.before) == ("Sure?", "Yes.", ("What is it?", "Red."))


@pytest.mark.parametrize("task", [Task.G, Task.MM])
def test_a_line_that_says_nothing_is_named(folder: Path, task: Task) -> None:
    rows = [{"image": "a.png", "detections": [], "caption": "Red."}, {"image": "b.png", "captoin": "Blue."}]
    with pytest.raises(InputError, match="line 2: it has none of 'detections', 'caption' and 'answer'"):
        read_examples(write(folder / "d.jsonl", rows), task)


@pytest.mark.parametrize(("name", "where"), [("d.json", "entry 2"), ("d.jsonl", "line 2")])
@pytest.mark.parametrize("lacking", [{}, {"conversations": []}, {"conversation": "What?"}])
def test_an_entry_of_llava_that_says_nothing_is_named(
    folder: Path, name: str, where: str, lacking: dict[str, Any]
) -> None:
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "Red."}]
    rows = [{"image": "a.png", "conversations": turns}, {"image": "b.png", **lacking}]
    with pytest.raises(InputError, match=rf"{name}, {where}: it has no 'conversations'"):
        read_examples(write(folder / name, rows), Task.MM)


@pytest.mark.skipif(os.sep == "\\", reason="there it is a path")
def test_paths_that_windows_wrote_are_found(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "a.png").rename(folder / "sub" / "a.png")
    name = "sub\\a.png"
    image = {"id": 1, "file_name": name}
    published = {"sent_id": 1, "expression": "cat", "img_path": name, "bbox": [1, 1, 9, 9], "width": 80, "height": 40}
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "Red."}]
    for file, task, data in (
        ("coco.json", Task.G, coco(images=[image])),
        ("published.jsonl", Task.G, [published]),
        ("annotated.jsonl", Task.G, [{"image": name, "phrases": ["cat"], "detections": []}]),
        ("annotated.jsonl", Task.MM, [{"image": name, "caption": "Red."}]),
        ("llava.json", Task.MM, [{"image": name, "conversations": turns}]),
    ):
        (example,) = checked(read_examples(write(folder / file, data), task), task)
        assert example.image == folder / "sub" / "a.png"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"bbox": [70, 10, 20, 10]}, "annotation 1: the box from (70, 10) to (90, 20) reaches outside of its picture"),
        ({"bbox": [-0.9, 5, 0.8, 3]}, "the box from (-0.9, 5) to (-0.1, 8) reaches outside of its picture"),
        ({"bbox": [5, 40, 9, 1]}, "the box from (5, 40) to (14, 41) reaches outside of its picture"),
        ({"bbox": [5, 5, 0, 3]}, "annotation 1: the box (5.0, 5.0, 5.0, 8.0) is empty"),
        ({"bbox": "none"}, "annotation 1: the box is 'none'"),
        ({"bbox": [5, 5, 10**400, 3]}, "annotation 1: the box is [5, 5, 1000"),
        ({"bbox": [5, 5, float("nan"), 3]}, "annotation 1: the box is [5, 5, nan, 3]"),
        ({"image_id": 9}, "annotation 1: there is no image 9"),
        ({"category_id": 9}, "annotation 1: there is no category 9, so no phrase"),
    ],
)
def test_a_wrong_row_of_coco_is_named(folder: Path, row: dict[str, Any], complaint: str) -> None:
    good = {"image_id": 1, "category_id": 7, "bbox": [5, 10, 20, 10]}
    path = write(folder / "d.json", coco(annotations=[good | row]))
    with pytest.raises(InputError) as caught:
        checked(read_examples(path, Task.G), Task.G)
    assert complaint in str(caught.value)


def test_two_sizes_missing_pictures_and_no_phrase_are_named(folder: Path) -> None:
    images = coco()["images"]
    path = write(folder / "d.json", coco(images=[images[0] | {"width": 800, "height": 400}, images[1]]))
    with pytest.raises(InputError, match=r"annotation 1: the row says 800 x 400 .* has 80 x 40"):
        checked(read_examples(path, Task.G), Task.G)
    path = write(folder / "d.json", coco(images=[images[0] | {"file_name": "gone.png"}, images[1]]))
    with pytest.raises(InputError, match=r"annotation 1: .*gone\.png.* --images names"):
        checked(read_examples(path, Task.G), Task.G)
    with pytest.raises(InputError, match=r"category 1: 'name' is ' '"):
        read_examples(write(folder / "d.json", coco(categories=[{"id": 7, "name": " "}])), Task.G)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"categories": [None]}, "category 1: it is None, not an object"),
        ({"categories": 1.5}, "'categories' is 1.5; it must be a list"),
        ({"images": [5]}, "image 1: it is 5, not an object"),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 10**400, "height": 1}]}, "they must be pixels"),
    ],
)
def test_coco_of_other_parts_is_named(folder: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        read_examples(write(folder / "d.json", coco(**changes)), Task.G)
    assert complaint in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("part", ["images", "categories"])
def test_an_id_of_coco_comes_once(folder: Path, part: str) -> None:
    """The first of two would have its boxes taken for those of the second."""
    rows = [*coco()[part], coco()[part][0] | {"file_name": "b.png", "name": "the dog"}]
    with pytest.raises(InputError, match=r"(image 3|category 2): id [17] is there already\. Each may come once"):
        read_examples(write(folder / "d.json", coco(**{part: rows})), Task.G)


@pytest.mark.parametrize("phrase", [5, None, [], " ", "\ud800"])
def test_phrases_that_are_no_texts_are_named(folder: Path, phrase: Any) -> None:
    path = write(folder / "d.jsonl", [{"image": "a.png", "detections": [], "phrases": ["cat", phrase]}])
    with pytest.raises(InputError, match=r"line 1: ('phrases' is .*; it must be a text|holds .* no character)"):
        read_examples(path, Task.G)


@pytest.mark.parametrize("data", [{"a": 1}, "text", [1, 2]])
def test_other_json_is_none_of_the_forms(folder: Path, data: Any) -> None:
    with pytest.raises(InputError, match="none of what is read"):
        read_examples(write(folder / "d.json", data), Task.G)


def test_an_answer_is_what_the_parser_reads_back() -> None:
    size, boxes = (80, 40), [(40.0, 10.0, 60.0, 20.0), (5.0, 10.0, 25.0, 20.0)]
    text = box_answer(boxes, size)
    for found, true in zip(parse_boxes(text), sorted(boxes), strict=True):
        assert unpad_box(found, size) == pytest.approx(true, abs=0.05)
    assert box_answer([(0, 0, 80, 80)], (80, 80)) == "[0.000,0.000,0.999,0.999]"


def test_the_split_is_seeded_and_keeps_pictures_together() -> None:
    pictures = [Image.new("RGB", (9, 9), (number, 0, 0)) for number in range(10)]
    examples = [Example(picture, text, ((1, 1, 2, 2),)) for picture in pictures for text in ("a", "b")]
    learned, held = split(examples, TeachSettings(seed=3))
    assert (len(learned), len(held)) == (16, 4)
    assert {id(e.image) for e in learned}.isdisjoint(id(e.image) for e in held)
    assert split(examples, TeachSettings(seed=3)) == (learned, held) != split(examples, TeachSettings(seed=4))
    with pytest.raises(InputError, match=r"^Too few pictures: of 1, 1 .* none is left to learn from.* a share of 0 "):
        split(examples[:2], TeachSettings())


def test_a_split_that_leaves_no_box_is_refused() -> None:
    pictures = [Image.new("RGB", (9, 9), (number, 0, 0)) for number in range(5)]
    lacking = [Example(picture, "a") for picture in pictures]
    shown = [replace(lacking[0], boxes=((1, 1, 2, 2),)), *lacking[1:]]
    with pytest.raises(InputError, match="No example has a box"):
        split(lacking, TeachSettings())
    refused = 0
    for seed in range(20):
        try:
            learned, _ = split(shown, TeachSettings(seed=seed))
            assert any(example.boxes for example in learned)
        except InputError as error:
            assert "hold out less, or choose another seed" in str(error)
            refused += 1
    assert 0 < refused < 20
