"""Pages to look through annotations."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.annotate import pages
from iaa_runtime.annotate.pages import page_files, write_pages
from iaa_runtime.cli import main
from iaa_runtime.jobs.job import Row

BOX = {"x": 2, "y": 3, "width": 10, "height": 8, "label": "<b>cat</b>", "score": 0.5}


class Tags(HTMLParser):
    """Counts tags and collects texts and links."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.texts = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.texts += data


def read(path: Path) -> Tags:
    return Tags(path.read_text(encoding="utf-8"))


def pairs(photos: Path, count: int, **record: Any) -> list[tuple[Row, Row]]:
    item = {"image": "a.png", "path": str(photos / "a.png")}
    return [(item, {"image": f"a{number}.png", "width": 30, "height": 20} | record) for number in range(count)]


def test_a_page_shows_pictures_boxes_captions_and_failures(
    pipeline: IAAPipeline, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iaa_runtime.cli.annotate.open_pipeline", lambda options, *tasks: pipeline)
    (photos / "<i>broken.png").write_bytes(b"")
    words = ["annotate", str(photos), "--caption", "--phrase", "<u>cat", "--threshold", "0", "--max-new-tokens", "24"]
    words += ["--out", str(tmp_path / "out"), "--page", str(tmp_path / "look.html")]
    assert main(words) == 0
    page = read(tmp_path / "look.html")
    assert page.tags.count("img") == 3 and page.tags.count("figure") == 4
    assert "i" not in page.tags and "u" not in page.tags
    assert "4 images, 1 failed." in page.texts and "<i>broken.png is not an image" in page.texts
    assert page.texts.count("<u>cat") >= 3 and str(photos / "a.png") in page.texts
    assert main(words) == 0  # the same again
    Image.new("RGB", (30, 20), "white").save(photos / "new.png")
    assert main([*words, "--update"]) == 1  # the page would lack it
    assert main([*words, "--update", "--overwrite"]) == 0
    assert read(tmp_path / "look.html").tags.count("img") == 4


@pytest.mark.parametrize(
    "record",
    [
        {"caption": "<script>alert(1)</script>\x1b[31m"},
        {"detections": [BOX]},
        {"error": "no <img src=x>"},
        {"image": "x' onerror='alert(1)"},
        {"image": "\udcff.png"},
    ],
    ids=lambda record: next(iter(record)),
)
def test_everything_is_escaped(record: Row, photos: Path, tmp_path: Path) -> None:
    listed = pairs(photos, 1, **record)
    write_pages(tmp_path / "look.html", lambda: listed, 1)
    page = read(tmp_path / "look.html")
    assert set(page.tags) <= {"html", "meta", "title", "style", "h1", "p", "div", "figure", "figcaption", "img", "span"}
    assert page.tags.count("img") == ("error" not in record) and "\x1b" not in page.texts
    for value in record.values():
        if isinstance(value, str) and value.isprintable():
            assert value in page.texts


def test_boxes_are_drawn_in_the_colour_of_their_key(photos: Path, tmp_path: Path) -> None:
    listed = pairs(photos, 1, detections=[BOX, BOX | {"label": "dog", "x": 15}])
    write_pages(tmp_path / "look.html", lambda: listed, 1)
    colors = re.findall(r"background: (#[0-9a-f]{6})'", (tmp_path / "look.html").read_text())
    assert len(set(colors)) == 2


def test_large_jobs_have_several_pages_and_a_bounded_number_of_pictures(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PER_PAGE", 4)
    monkeypatch.setattr(pages, "MOST", 10)
    for count, shown in ((9, list(range(9))), (10, list(range(10))), (25, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23])):
        listed = pairs(photos, count)
        first = tmp_path / f"{count}" / "look here.html"
        write_pages(first, lambda listed=listed: listed, count)
        files = page_files(first, count)
        assert sorted(first.parent.iterdir()) == sorted(files) and len(files) == 3
        read_pages = [read(file) for file in files]
        assert [int(name) for page in read_pages for name in re.findall(r"\ba(\d+)\.png", page.texts)] == shown
        assert read_pages[1].links == ["look%20here.html", "look%20here-3.html"] * 2
        assert ("10 of them are shown" in read_pages[0].texts) == (count == 25)
        assert [page.tags.count("img") for page in read_pages] == [4, 4, len(shown) - 8]
