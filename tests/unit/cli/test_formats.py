"""``--format``: answers held to a JSON schema or a regular expression."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import records

from iaa_runtime.cli import main
from iaa_runtime.shapes.scenes import draw_scene, make_scene

FP32 = ("--dtype", "fp32", "--device", "cpu", "--quiet")
COUNT = {"type": "integer", "minimum": 0, "maximum": 9}
SCHEMA = {"type": "object", "properties": {"count": COUNT}, "required": ["count"]}


def test_a_schema_typed_or_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, schema = tmp_path / "scene.png", tmp_path / "schema.JSON"
    draw_scene(make_scene(3)).save(picture)
    schema.write_text(json.dumps(SCHEMA, indent=1))
    told = []
    for given in (str(schema), json.dumps(SCHEMA)):
        asks = ["caption", str(picture), "--prompt", "How many shapes are there?", "--format", given, "--json", *FP32]
        assert main(asks) == 0
        told += records(capsys)
    assert told[0] == told[1]
    assert list(json.loads(told[0]["caption"])) == ["count"] and json.loads(told[0]["caption"])["count"] in range(10)


def test_an_expression(capsys: pytest.CaptureFixture[str]) -> None:
    asks = ["text", "--prompt", "What is the opposite of left?", "--format", "(Right|Up)!", *FP32]
    assert main(asks) == 0
    assert capsys.readouterr().out.strip() in ("Right!", "Up!")
    assert main([*asks, "--max-new-tokens", "1"]) == 1
    assert "Answer 1 was cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("(a", "cannot be held to this format"),
        ('{"type": "shape"}', "cannot be held to this format"),
        ('{"$ref": "file:///etc/passwd"}', "which is not opened"),
        (" ", "it is empty"),
        ("nowhere.json", "nowhere.json"),
    ],
)
def test_what_is_no_format_is_a_bad_argument(given: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["text", "--prompt", "x", "--format", given])
    assert caught.value.code == 2 and said in capsys.readouterr().err


def test_what_does_not_go_with_a_format(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--beams", "2"], "neither with beam search"),
        (["--server", "http://localhost:1"], "--format has no effect beside --server"),
    ):
        assert main(["text", "--prompt", "x", "--format", "a", *words]) == 2
        assert said in capsys.readouterr().err
