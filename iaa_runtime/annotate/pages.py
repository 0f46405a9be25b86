"""Pages to look through annotations: pictures with their boxes and captions, in files that any browser opens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import InputError
from ..images.draw import label_colors
from ..images.page import embedded, figure, figures, note, origin, page, text
from ..jobs.files import make_folder, write_bytes
from ..jobs.job import Row
from ..jobs.run import LOADERS
from .annotator import has_failed, reason
from .listed import Listed
from .sidecars import Pairs

PER_PAGE = 100
MOST = 2000
"""Pictures in all: some 40 MB; of more, as many are shown from the first to the last."""
_FAILURES = 50
"""That the first page lists."""


def page_files(first: Path, count: int) -> list[Path]:
    """The files for ``count`` pictures: ``look.html``, ``look-2.html`` and so on."""
    pages = -(-min(count, MOST) // PER_PAGE)
    return [first, *(first.with_stem(f"{first.stem}-{number}") for number in range(2, pages + 1))]


def write_pages(
    first: Path, pairs: Pairs, count: int, about: Mapping[str, Any] | None = None, *, overwrite: bool = False
) -> None:
    """Writes the pages.

    Args:
        first: the first page's file.
        pairs: the items and their records.
        count: how many there are.
        about: where they come from, which the first page tells at its end (:mod:`..jobs.origin`).
        overwrite: replace files with other content.
    """
    files = page_files(first, count)
    make_folder(first.parent)
    shown = _spread(pairs(), count)
    for number, file in enumerate(files):
        head = [_links(files, number), *(_head(pairs, count) if number == 0 else ())]
        with ThreadPoolExecutor(LOADERS) as pool:
            body = figures(pool.map(_shown, islice(shown, PER_PAGE)))
        title = "IAA: annotations" + (f", page {number + 1} of {len(files)}" if len(files) > 1 else "")
        end = origin(about) if number == 0 else ()
        write_bytes(file, page(title, [*head, body, head[0], *end]), overwrite=overwrite)


def _spread(pairs: Iterable[tuple[Row, Row]], count: int) -> Iterator[tuple[Row, Row]]:
    """At most ``MOST`` of them, at even distances."""
    for number, pair in enumerate(pairs):
        if number * MOST // count != (number - 1) * MOST // count:  # of fewer, all
            yield pair


def _links(files: list[Path], current: int) -> str:
    links = [
        f"<b>{number}</b>" if number == current + 1 else f"<a href='{quote(file.name, errors='replace')}'>{number}</a>"
        for number, file in enumerate(files, 1)
    ]
    return f"<nav>{' '.join(links)}</nav>" if len(files) > 1 else ""


def _head(pairs: Pairs, count: int) -> Iterator[str]:
    failed, told = 0, list[str]()
    for _, record in pairs():
        if has_failed(record):
            failed += 1
            told += [reason(record)] * (failed <= _FAILURES)
    sample = f" {MOST:,} of them are shown, from the first to the last." if count > MOST else ""
    yield f"<p>{count:,} images, {failed:,} failed.{sample}</p>"
    yield from map(note, told)
    if failed > len(told):
        yield note(f"… {failed - len(told):,} more; their records say why.")


def _shown(pair: tuple[Row, Row]) -> str:
    item, record = pair
    boxes = record.get("detections", [])
    colors = {label: "#{:02x}{:02x}{:02x}".format(*color) for label, color in label_colors(_labels(boxes)).items()}
    drawn = [((b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"]), colors[b["label"]]) for b in boxes]
    try:
        picture = embedded(Listed.from_row(item).load(), drawn) if "error" not in record else note(record["error"])
    except InputError as error:
        picture = note(str(error))
    found = (
        f"<span class='key'><span class='swatch' style='background: {colors[box['label']]}'></span> "
        f"{text(box['label'])} {box['score']:.2f}</span>"
        for box in boxes
    )
    name = f"<div class='note'>{text(record['image'])}</div>"
    return figure(picture, f"{text(record.get('caption', ''))} {' '.join(found)}{name}")


def _labels(boxes: list[Row]) -> list[str]:
    return [box["label"] for box in boxes]
