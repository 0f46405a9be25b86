"""Records of batches of pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.annotate import AnnotateSettings, Annotator
from iaa_runtime.annotate.annotator import is_record, load_picture
from iaa_runtime.errors import InputError

SHORT = {"max_new_tokens": 24}


def rows(*names: str) -> list[dict[str, object]]:
    return [{"image": name, "path": f"/nowhere/{name}"} for name in names]


def test_captions_and_boxes_are_the_pipeline_s(pipeline: IAAPipeline) -> None:
    pictures = [Image.new("RGB", (40, 20), "red"), Image.new("RGB", (20, 50), "blue")]
    settings = AnnotateSettings(prompt="What is it?", phrases=("cat", "dog"), ground=True, generation=SHORT)
    records = Annotator(pipeline, settings).annotate(rows("a", "b"), list(pictures))
    captions = pipeline.caption(pictures, "What is it?", **SHORT)
    found = pipeline.ground(pictures, ["cat", "dog"], **SHORT)
    for record, picture, caption, detections in zip(records, pictures, captions, found, strict=True):
        assert (record["width"], record["height"]) == picture.size
        assert (record["caption"], record["phrases"]) == (caption, ["cat", "dog"])
        assert len(detections) >= 2
        assert [{**d, "score": None} for d in record["detections"]] == [
            {**d.to_dict(), "score": None} for d in detections
        ]
        assert [d["score"] for d in record["detections"]] == pytest.approx([d.score for d in detections], abs=1e-4)


def test_phrases_of_the_list_follow_the_common_ones(pipeline: IAAPipeline) -> None:
    settings = AnnotateSettings(phrases=("cat",), ground=True, several=False, generation=SHORT)
    items = rows("a", "b", "c")
    items[0]["phrases"] = ["dog", "cat"]
    items[2]["phrases"] = ["bird"]
    records = Annotator(pipeline, settings).annotate(items, [Image.new("RGB", (30, 30), "red")] * 3)
    labels = [[d["label"] for d in record["detections"]] for record in records]
    assert labels == [["cat", "dog"], ["cat"], ["cat", "bird"]]
    assert [record["phrases"] for record in records] == labels, "so that nobody takes the others' phrases for absent"
    assert "caption" not in records[0]


def test_phrases_that_ask_the_same_are_looked_for_once(pipeline: IAAPipeline) -> None:
    settings = AnnotateSettings(phrases=("the {name}", "the cat."), ground=True, several=False, generation=SHORT)
    item = {"image": "cat", "path": "/nowhere/cat", "phrases": ["the  cat", "the dog", "the cat "]}
    (record,) = Annotator(pipeline, settings).annotate([item], [Image.new("RGB", (30, 30), "red")])
    assert record["phrases"] == ["the cat", "the dog"] == [d["label"] for d in record["detections"]]


GOOD_BOX = {"x": 1, "y": 2, "width": 3, "height": 4, "label": "cat", "score": 0.5}
GOOD = {
    "image": "a",
    "id": "7",
    "width": 9,
    "height": 8,
    "caption": "A cat.",
    "phrases": ["cat"],
    "detections": [GOOD_BOX],
}


def test_questions_may_name_the_picture_and_its_folder(pipeline: IAAPipeline) -> None:
    settings = AnnotateSettings(prompt="a {folder} named {name}? {x}", phrases=("the {folder}", "{name}"), ground=True)
    rows = [{"image": f"x/{kind}/1.png", "path": f"/x/{kind}/1.png", "phrases": ["{name}"]} for kind in ("cat", "dog")]
    pictures: list[Image.Image | InputError] = [Image.new("RGB", (40, 30), "red")] * 2
    annotator = Annotator(pipeline, settings)
    annotator.threshold = 0.0
    for record, kind in zip(annotator.annotate(list(rows), pictures), ("cat", "dog"), strict=True):
        assert {box["label"] for box in record["detections"]} == {f"the {kind}", "1", "{name}"}
        assert record["caption"] == pipeline.caption(pictures[0], f"a {kind} named 1? {{x}}")[0]  # type: ignore[arg-type]


def test_records_are_told_from_what_somebody_made_of_them(pipeline: IAAPipeline) -> None:
    settings = AnnotateSettings(prompt="What is it?", phrases=("cat",), ground=True, generation=SHORT)
    made = Annotator(pipeline, settings).annotate(rows("a", "b"), [Image.new("RGB", (30, 30)), InputError("no")])
    assert all(map(is_record, [*made, GOOD]))
    for name in GOOD:
        assert not is_record(GOOD | {name: 1.5})
    for name in GOOD_BOX:
        assert not is_record(GOOD | {"detections": [GOOD_BOX | {name: None}]})
    for changed in ({}, {"image": "a"}, {"image": "a", "error": 5}, GOOD | {"detections": 5}, GOOD | {"phrases": [5]}):
        assert not is_record(changed)


def test_captions_may_have_a_format_and_boxes_keep_their_own(pipeline: IAAPipeline) -> None:
    """One that is cut before it has it is that picture's error."""
    pytest.importorskip("llguidance")
    pictures: list[Image.Image | InputError] = [Image.new("RGB", (40, 20), "red"), Image.new("RGB", (20, 50), "blue")]
    options = {**SHORT, "format": "(Yes|No): [a-z]{3}"}
    settings = AnnotateSettings(prompt="{name}?", phrases=("cat",), ground=True, threshold=0, generation=options)
    for record in Annotator(pipeline, settings).annotate(rows("a", "b"), pictures):
        assert re.fullmatch(options["format"], record["caption"]) and record["detections"]  # type: ignore[call-overload]
    cut = AnnotateSettings(prompt="{name}?", generation={**options, "max_new_tokens": 2})
    for record in Annotator(pipeline, cut).annotate(rows("a", "b"), pictures):
        assert set(record) == {"image", "error"} and "cut off after 2 tokens" in record["error"]


def test_a_threshold_drops_boxes(pipeline: IAAPipeline) -> None:
    settings = AnnotateSettings(phrases=("cat",), ground=True, threshold=1.0, generation=SHORT)
    (record,) = Annotator(pipeline, settings).annotate(rows("a"), [Image.new("RGB", (30, 30), "red")])
    assert record["detections"] == []


def test_boxes_with_beams_are_refused() -> None:
    with pytest.raises(InputError, match="Beam search"):
        AnnotateSettings(prompt="What?", phrases=("cat",), ground=True, generation={"num_beams": 2})


def test_a_bad_picture_is_recorded_and_the_others_go_on(pipeline: IAAPipeline, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (30, 30), "red").save(tmp_path / "good.png")
    items = [{"image": name, "path": str(tmp_path / name)} for name in ("broken.png", "good.png", "absent.png")]
    settings = AnnotateSettings(prompt="What?", generation={"max_new_tokens": 3})
    records = Annotator(pipeline, settings).annotate(items, [load_picture(item) for item in items])
    assert records[0] == {
        "image": "broken.png",
        "error": "broken.png is not an image that can be read here. Is it damaged, or of a kind that should be saved "
        "as PNG, JPEG or WebP first?",
    }
    assert set(records[1]) == {"image", "width", "height", "caption"}
    assert records[2]["error"] == "There is no image at absent.png. Check the path."


def test_a_disk_that_is_gone_stops_the_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not there\. Is its disk connected"):
        load_picture({"image": "a.png", "path": str(tmp_path / "unmounted" / "a.png")})


def test_a_phrase_too_long_fails_its_picture_alone(pipeline: IAAPipeline) -> None:
    settings = AnnotateSettings(prompt="What?", ground=True, generation=SHORT)
    items = rows("a", "b")
    items[0] |= {"phrases": ["long " * 300], "id": "7"}
    items[1]["phrases"] = ["cat"]
    records = Annotator(pipeline, settings).annotate(items, [Image.new("RGB", (30, 30), "red")] * 2)
    assert set(records[0]) == {"image", "id", "error"}
    assert "context is 640" in records[0]["error"]
    assert [d["label"] for d in records[1]["detections"]][:1] == ["cat"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (AnnotateSettings(prompt="long " * 300), "does not fit into the context"),
        (AnnotateSettings(phrases=("long " * 300,), ground=True), "does not fit into the context"),
        (AnnotateSettings(ground=True, generation={"max_new_tokens": 4}), "4 new tokens are too few for a box"),
    ],
)
def test_what_would_fail_every_picture_fails_at_once(
    settings: AnnotateSettings, message: str, pipeline: IAAPipeline
) -> None:
    with pytest.raises(InputError, match=message):
        Annotator(pipeline, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "There is nothing to do"),
        ({"prompt": " "}, "The prompt for captions is empty"),
        ({"prompt": "What?", "batch": 0}, "The batch is 0"),
        ({"ground": True, "phrases": ("?",)}, "describes nothing"),
        ({"prompt": "What?", "generation": {"temperature": 0}}, "temperature is 0"),
        ({"ground": True, "phrases": ("cat",), "generation": {"format": "a"}}, "format is that of captions"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AnnotateSettings(**settings)  # type: ignore[arg-type]
