"""What one looks at after teaching: the learning curve, and held-out pictures before and after."""

from __future__ import annotations

import io
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from ..boxes.answers import Detection
from ..boxes.geometry import pixel_rectangle
from ..images.draw import draw_detections
from ..images.fonts import Font, letters
from ..images.preprocess import bounded
from ..jobs.files import write_bytes
from .examples import Example
from .scores import BoxCase

SHOWN = 12
"""Rows of a sheet."""
_EDGE, _GAP = 300, 10
_WIDTH, _HEIGHT, _MARGIN = 900, 420, 56
_INK, _GRID, _PAPER = "#222222", "#dddddd", "#ffffff"
_LINES = {"loss": "#4575b4", "held_out": "#d73027"}
_NAMES = {"loss": "learned from", "held_out": "held out"}


def draw_curve(lines: Sequence[Mapping[str, Any]], best: int | None = None) -> Image.Image:
    """The learning curve: losses on a logarithmic scale over steps, and a mark at the best step.

    Args:
        lines: of the curve's file, with ``step``, ``loss`` and perhaps ``held_out``.
        best: the step whose state was kept.
    """
    image = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    draw = ImageDraw.Draw(image)
    values = [line[name] for line in lines for name in _LINES if _drawn(line, name)]
    low, high = (min(values), max(values)) if values else (0.1, 1.0)
    bottom, top = math.log(low * 0.9), math.log(high * 1.1)
    last = max((line["step"] for line in lines), default=1)

    def place(step: float, value: float) -> tuple[float, float]:
        across = _MARGIN + (_WIDTH - 2 * _MARGIN) * step / last
        return across, _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (math.log(value) - bottom) / (top - bottom)

    for part in range(5):
        value = math.exp(bottom + (top - bottom) * part / 4)
        y = place(0, value)[1]
        draw.line((_MARGIN, y, _WIDTH - _MARGIN, y), _GRID)
        _write(draw, (6, y - 7), f"{value:.3g}")
        x = place(last * part / 4, low)[0]
        _write(draw, (x - 10, _HEIGHT - _MARGIN + 8), f"{last * part / 4:.0f}")
    _write(draw, (_WIDTH - _MARGIN - 40, _HEIGHT - 24), "steps")
    for number, (name, color) in enumerate(_LINES.items()):
        points = [place(line["step"], line[name]) for line in lines if _drawn(line, name)]
        if len(points) > 1:
            draw.line(points, color, 2, joint="curve")
        if points:
            _write(draw, (_MARGIN + 150 * number, 16), f"loss, {_NAMES[name]}", color)
    if best:
        x = place(best, low)[0]
        draw.line((x, _MARGIN, x, _HEIGHT - _MARGIN), _LINES["held_out"])
        _write(draw, (min(x + 4, _WIDTH - 110), _MARGIN), f"kept: {best}", _LINES["held_out"])
    return image


def _drawn(line: Mapping[str, Any], name: str) -> bool:
    return math.isfinite(line.get(name, 0)) and line.get(name, 0) > 0


def box_sheet(before: Sequence[BoxCase], after: Sequence[BoxCase]) -> Image.Image:
    """Rows of the right boxes, those found before teaching and those found after it, as :func:`_shown` chooses them."""
    rows, pairs = [], list(zip(before, after, strict=True))
    for old, new in (pairs[number] for number in _shown([old.example for old, _ in pairs])):
        picture = old.example.load()
        true = [
            Detection.from_xyxy(pixel_rectangle(box, picture.size), old.example.asked, 1.0) for box in old.example.boxes
        ]
        rows.append([bounded(draw_detections(picture, found), _EDGE) for found in (true, old.found, new.found)])
    return _sheet(rows, ("right", "before", "after"))


def answer_sheet(before: Sequence[tuple[Example, str]], after: Sequence[tuple[Example, str]]) -> Image.Image:
    """Rows of a picture, the right answer, the one before teaching and the one after it, as :func:`_shown` chooses
    them."""
    rows, pairs = [], list(zip(before, after, strict=True))
    for (example, old), (_, new) in (pairs[number] for number in _shown([example for (example, _), _ in pairs])):
        texts = (_text(words) for words in (example.answer, old, new))
        rows.append([bounded(example.load(), _EDGE), *texts])
    return _sheet(rows, ("picture", "right", "before", "after"))


def _shown(examples: Sequence[Example]) -> list[int]:
    """Numbers of the examples on a sheet: of every picture one before any has two, and what is there before what is
    absent."""
    turns, met = dict[int, int](), Counter[str]()
    for number in sorted(range(len(examples)), key=lambda number: not examples[number].boxes):
        turns[number] = met[examples[number].picture_key]
        met[examples[number].picture_key] += 1
    return sorted(turns, key=turns.__getitem__)[:SHOWN]


def write_png(path: Path, image: Image.Image) -> None:
    """Writes a picture whole or not at all; one that is there is replaced."""
    content = io.BytesIO()
    image.save(content, "PNG")
    write_bytes(path, content.getvalue(), overwrite=True)


def _sheet(rows: Sequence[Sequence[Image.Image]], heads: Sequence[str]) -> Image.Image:
    heights = [max(cell.height for cell in row) + _GAP for row in rows]
    sheet = Image.new("RGB", (len(heads) * (_EDGE + _GAP) + _GAP, sum(heights) + 40), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, head in enumerate(heads):
        _write(draw, (_GAP + column * (_EDGE + _GAP), 12), head)
    y = 36
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (_GAP + column * (_EDGE + _GAP), y))
        y += height
    return sheet


def _text(words: str) -> Image.Image:
    """Words in lines that fit a cell."""
    image = Image.new("RGB", (_EDGE, _EDGE // 2), _PAPER)
    draw = ImageDraw.Draw(image)
    shown, font = _letters(" ".join(words.split()))
    for number, line in enumerate(islice(_lines(shown, font), _EDGE // 32)):
        draw.text((0, 16 * number), line, _INK, font)
    return image


def _lines(text: str, font: Font) -> Iterator[str]:
    """A text in lines that fit a cell, broken at blanks; where a line has none, as in Chinese, between two letters."""
    while text:
        counts = range(1, len(text) + 1)
        count = max(1, bisect_right(counts, _EDGE, key=lambda count: math.ceil(font.getlength(text[:count]))))
        blank = text.rfind(" ", 1, count + 1) if count < len(text) else -1
        end = blank if blank > 0 else count
        yield text[:end]
        text = text[end:].lstrip()


def _letters(words: str) -> tuple[str, Font]:
    """Words as they can be written, and a font for them in the size of a sheet."""
    shown, font = letters(words)
    return shown, font.font_variant(size=13)


def _write(draw: ImageDraw.ImageDraw, at: tuple[float, float], words: str, color: str = _INK) -> None:
    shown, font = _letters(words)
    draw.text(at, shown, color, font)
