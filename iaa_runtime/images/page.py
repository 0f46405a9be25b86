"""Self-contained HTML pages with pictures in them: benchmarks' reports, and annotations to look through."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image, ImageDraw

from ..boxes.geometry import Box
from ..text.printable import printable

EDGE = 360
"""Longest side of a picture on a page, in pixels."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .2rem .9rem .2rem 0; text-align: left }
th { border-bottom: 1px solid #999 } td.number { text-align: right; font-variant-numeric: tabular-nums }
.bar { display: inline-block; background: #4575b4; height: .8em }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.5rem }
.cases img { max-width: 100% } figure { margin: 0 } figcaption { overflow-wrap: anywhere }
.true { color: #1a9850 } .answer { color: #d73027 } .note { color: #666 } .key { white-space: nowrap }
.swatch { display: inline-block; width: .8em; height: .8em; border: 1px solid #888 }
nav { margin: 1rem 0 } nav a, nav b { margin-right: .6rem }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd } .note { color: #999 }
  a { color: #8ab4f8 } }
"""


def text(words: str) -> str:
    """Words as HTML that shows them as they are; control characters are spelled."""
    return escape(printable(words))


def note(words: str) -> str:
    """A paragraph in grey, such as the reason why a picture is not shown."""
    return f"<p class='note'>{text(words)}</p>"


def figure(picture: str, caption: str) -> str:
    """A picture, as of :func:`embedded`, above a caption, both HTML."""
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def figures(shown: Iterable[str]) -> str:
    """Figures side by side, as many as there is room for."""
    return "\n".join(["<div class='cases'>", *shown, "</div>"])


def embedded(picture: Image.Image, boxes: Iterable[tuple[Box, str]] = ()) -> str:
    """A picture as HTML that holds it, scaled down, with boxes in pixels of the picture and their CSS colours."""
    scale = min(1.0, EDGE / max(picture.size))
    small = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(small)
    for box, color in boxes:
        x1, y1, x2, y2 = (max(-2.0, min(EDGE + 2.0, edge * scale)) for edge in box)
        draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=color, width=3)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f"<img alt='' src='data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}'>"


def page(title: str, body: Iterable[str]) -> bytes:
    """A whole page with a title and a body of HTML; names that are no Unicode are spelled."""
    whole = (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width'><title>{text(title)}</title><style>{_STYLE}</style>"
        f"<h1>{text(title)}</h1>\n" + "\n".join(body) + "\n</html>\n"
    )
    return whole.encode(errors="backslashreplace")


class Markup(str):
    """HTML, which is not escaped again; what is no number, so it begins at the left."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, numbers from the second column on."""

    def cell(column: int, text: str) -> str:
        if isinstance(text, Markup):
            return f"<td>{text}</td>"
        kind = " class='number'" if column else ""
        return f"<td{kind}>{escape(text)}</td>"

    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    lines = ("<tr>" + "".join(cell(column, text) for column, text in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def origin(record: Mapping[str, Any] | None) -> list[str]:
    """Where what the page shows comes from, in HTML; nothing where that is not known."""
    known = dict(record or {})
    settings = known.pop("settings", {})
    told = {name: value for name, value in (known | settings).items() if value is not None}
    rows = [(text(name), Markup(text(str(value)))) for name, value in told.items()]
    return ["<h2>Where this comes from</h2>", table(("", ""), rows)] if rows else []
