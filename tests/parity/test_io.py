"""Prompts, pixels and boxes against what the published code computes (``tests/reference/io``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer

from iaa_runtime.boxes.answers import parse_boxes
from iaa_runtime.boxes.geometry import iou, pad_box, unpad_box
from iaa_runtime.images.load import load_image
from iaa_runtime.images.preprocess import preprocess
from iaa_runtime.text.conversation import Conversation

IO = Path(__file__).parents[1] / "reference" / "io"
PIXEL_VALUES = load_file(IO / "pixel_values.safetensors")
PROMPTS: list[dict[str, Any]] = json.loads((IO / "prompts.json").read_text())
BOXES: list[dict[str, Any]] = json.loads((IO / "boxes.json").read_text())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", sorted(PIXEL_VALUES))
def test_pixel_values(name: str) -> None:
    image = load_image(IO / "images" / f"{name}.png")
    torch.testing.assert_close(preprocess([image], 56)[0], PIXEL_VALUES[name], atol=1e-6, rtol=0)


def test_pixel_values_of_a_batch_of_odd_shapes() -> None:
    images = [Image.open(IO / "images" / f"{name}.png") for name in sorted(PIXEL_VALUES)]
    expected = torch.stack([PIXEL_VALUES[name] for name in sorted(PIXEL_VALUES)])
    torch.testing.assert_close(preprocess(images, 56), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("script", ["chat", "interleave"])
def test_prompts_turn_by_turn(script: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(IO / "tokenizer")
    rows = [row for row in PROMPTS if row["script"] == script]
    assert rows
    conversation = Conversation()
    for row in rows:
        if row["round"] == 0:
            conversation = Conversation()
        ids = conversation.user(row["query"]).encode(tokenizer, row["task"])
        assert ids == row["input_ids"], (row["task"], row["round"])
        assert (-200 in ids) == row["has_image"]
        conversation.assistant(row["reply"])


@pytest.mark.parametrize("row", BOXES, ids=lambda row: "x".join(map(str, row["size"])))
def test_boxes_map_to_pixels_and_back(row: dict[str, Any]) -> None:
    size = tuple(row["size"])
    assert unpad_box(row["normalized"], size) == pytest.approx(row["pixel_xyxy"], rel=0, abs=1e-9)
    assert pad_box(row["pixel_xyxy"], size) == pytest.approx(row["normalized"], rel=0, abs=1e-9)


def test_refcoco_answers_score_as_published() -> None:
    truth = {row["sent_id"]: row for row in read_jsonl(IO / "refcoco" / "annotations.jsonl")}
    answers = read_jsonl(IO / "refcoco" / "predictions.jsonl")
    golden = json.loads((IO / "refcoco" / "golden.json").read_text())

    def hit(answer: dict[str, Any]) -> bool:
        target = truth[answer["question_id"]]
        size = (target["width"], target["height"])
        return any(iou(unpad_box(box, size), target["bbox"]) >= 0.5 for box in parse_boxes(answer["text"]))

    hits = sum(map(hit, answers))
    assert (hits, len(answers) - hits) == (golden["tp"], golden["fp"])
    assert hits / len(answers) == pytest.approx(golden["precision_at_0.5"], abs=1e-12)
