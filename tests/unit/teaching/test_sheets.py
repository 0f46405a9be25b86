"""Sheets of held-out pictures: texts stay in their cells, and as many pictures are shown as there is room for."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from iaa_runtime.boxes.geometry import Box
from iaa_runtime.teaching import pages
from iaa_runtime.teaching.examples import Example
from iaa_runtime.teaching.pages import SHOWN, answer_sheet, box_sheet
from iaa_runtime.teaching.scores import BoxCase

BOX = (1.0, 1.0, 5.0, 5.0)


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Lines that are written from now on, and how wide each is in pixels."""
    lines, draw = list[tuple[str, float]](), ImageDraw.ImageDraw.text

    def note(own: ImageDraw.ImageDraw, at: Any, text: str, color: str, font: ImageFont.FreeTypeFont) -> None:
        lines.append((text, font.getlength(text)))
        draw(own, at, text, color, font)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    return lines


@pytest.mark.parametrize(
    "text",
    [
        "一只机器人站在窗边，看着外面的雨，手里拿着一把红色的伞。" * 2,
        "窓辺に立つロボットが、赤い傘を持って外の雨を眺めている。" * 2,
        "WWWWWWWWWW MMMMMMMMM " * 6,
        "A_name_without_any_blank_that_is_longer_than_a_line_of_a_cell_on_the_sheet",
        "iiii llll " * 12,
        "",
    ],
)
def test_texts_stay_in_their_cells(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, example = drawn(monkeypatch), Example(Image.new("RGB", (40, 30)), "What?", answer="")
    answer_sheet([(example, text)], [(example, "")])
    written = [(line, width) for line, width in lines if line not in ("picture", "right", "before", "after")]
    assert all(width <= 300 for _, width in written)
    assert all(width > 200 for _, width in written[:-1]), "as much as there is room for"
    assert "".join(line for line, _ in written).replace(" ", "") == text.replace(" ", "")
    if " " in text:
        assert {word for line, _ in written for word in line.split()} == set(text.split())


def cases(picture: Image.Image, boxes: list[tuple[str, tuple[Box, ...]]]) -> list[BoxCase]:
    return [BoxCase(Example(picture, phrase, own), ()) for phrase, own in boxes]


def test_a_sheet_shows_all_pictures_before_one_twice_and_what_is_there_before_what_is_not() -> None:
    pictures = [Image.new("RGB", (9, 9), (number, 0, 0)) for number in range(4)]
    phrases = list("abcdefgh")
    held = [
        case
        for number, picture in enumerate(pictures)
        for case in cases(picture, [(p, (BOX,) if number < 3 and p in "cf" else ()) for p in phrases])
    ]
    chosen = [held[number] for number in pages._shown([case.example for case in held])]
    assert len(chosen) == SHOWN
    assert [(case.example.image, case.example.asked) for case in chosen[:7]] == [
        *((picture, "c") for picture in pictures[:3]),
        (pictures[3], "a"),
        *((picture, "f") for picture in pictures[:3]),
    ]
    assert box_sheet(held, held).height > SHOWN * 9


def test_answers_are_shown_of_all_pictures_before_one_twice() -> None:
    pictures = [Image.new("RGB", (9, 9), (number, 0, 0)) for number in range(3)]
    examples = [Example(picture, prompt, answer="It.") for picture in pictures for prompt in "abcdef"]
    chosen = [examples[number] for number in pages._shown(examples)]
    assert [example.asked for example in chosen] == [prompt for prompt in "abcd" for _ in pictures]
