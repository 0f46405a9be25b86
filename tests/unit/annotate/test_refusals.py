"""One picture about which there is no answer: it is that picture's error, unless there is none about any."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_server import BOX, Behaviour, Exchange, ModelServer, refuses, says, serving
from PIL import Image

from iaa_runtime.annotate import AnnotateSettings, Annotator
from iaa_runtime.cli import main
from iaa_runtime.errors import IAAError, RemoteError
from iaa_runtime.pipeline.remote import RemotePipeline, Retries

BAD = (200, 0, 0)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving("iaa-mm", "iaa-g") as running:
        yield running


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures, of which number 3 is red."""
    (tmp_path / "photos").mkdir()
    for number in range(6):
        Image.new("RGB", (40, 20), BAD if number == 3 else (0, 0, number)).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def shows_red(body: dict[str, Any]) -> bool:
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    picture = Image.open(io.BytesIO(base64.b64decode(urls[0].partition(",")[2])), formats=["PNG", "JPEG"])
    red, green, _ = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    return red > 150 and green < 50


def unless_red(refusal: Behaviour) -> Behaviour:
    """Boxes from G and words from MM, but of red pictures the refusal."""

    def behave(exchange: Exchange, body: dict[str, Any]) -> None:
        good = says(*BOX) if body["model"] == "iaa-g" else says("A", " bar", ".")
        (refusal if shows_red(body) else good)(exchange, body)

    return behave


@pytest.mark.parametrize("batch", ["1", "2", "6"])
def test_a_refused_picture_is_an_error_of_its_own(
    server: ModelServer, pictures: Path, tmp_path: Path, batch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaves(unless_red(refuses(422, '{"error": "cannot decode image"}')))
    words = ["annotate", str(pictures), "--caption", "--phrase", "the bar", "--server", server.url, "--json"]
    assert main([*words, "--batch", batch, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["failed"] == 1
    lines = (tmp_path / "out" / "shard-000000.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [("error" in record, "caption" in record) for record in records] == [
        (number == 3, number != 3) for number in range(6)
    ]
    assert "refused (status 422)" in records[3]["error"]
    assert "3.png: " in err and "refused (status 422)" in err
    assert all(len(record["detections"]) == 1 for record in records if "error" not in record)


def pipeline(server: ModelServer) -> RemotePipeline:
    return RemotePipeline.connect([server.url], concurrency=1, retries=Retries(tries=2, first=0.01))


def annotate(server: ModelServer, settings: AnnotateSettings, *colors: tuple[int, int, int]) -> list[dict[str, Any]]:
    rows = [{"image": str(number), "path": "", "phrases": ["a"]} for number in range(len(colors))]
    return Annotator(pipeline(server), settings).annotate(rows, [Image.new("RGB", (30, 30), c) for c in colors])


@pytest.mark.parametrize("refusal", [refuses(500), refuses(400, "maximum context length"), says("no box")])
def test_whatever_a_server_does_to_one_picture_leaves_the_others(server: ModelServer, refusal: Behaviour) -> None:
    server.behaves(unless_red(refusal))
    good, bad = annotate(server, AnnotateSettings(ground=True), (0, 0, 9), BAD)
    assert good["detections"] and "error" not in good
    assert set(bad) == {"image", "error"}


@pytest.mark.parametrize("settings", [AnnotateSettings(prompt="What?"), AnnotateSettings(ground=True)])
def test_a_server_that_answers_nobody_stops_the_job(server: ModelServer, settings: AnnotateSettings) -> None:
    server.behaves(refuses(400, "the model is out"))
    with pytest.raises(RemoteError):
        annotate(server, settings, (0, 0, 9), BAD)


def test_a_server_that_goes_down_on_the_way_is_no_error_of_a_picture(server: ModelServer) -> None:
    # The first picture fails twice; the grey one and the first, alone, are answered; from then on nothing is.
    out = refuses(503)
    server.behaves(out, out, says("Fine"), says("Fine"), out)
    with pytest.raises(RemoteError, match="gave no answer"):
        annotate(server, AnnotateSettings(prompt="What?"), (0, 0, 9), (0, 9, 0))


def test_a_question_that_is_too_long_for_every_picture_stops_the_job(server: ModelServer) -> None:
    server.behaves(refuses(400, "maximum context length"))
    with pytest.raises(IAAError):
        annotate(server, AnnotateSettings(prompt="What?"), (0, 0, 9))
