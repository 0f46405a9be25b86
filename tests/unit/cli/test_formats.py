"""``--format``: answers held to a JSON schema or a regular expression."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import records

from iaa_runtime.cli import main
from iaa_runtime.shapes.scenes import draw_scene, make_scene

FP32 = ("--dtype", "fp32", "--device", "cpu", "--quiet")
COUNT = {"type": "integer", "minimum": 0, "maximum": 9}
SCHEMA = {"type": "object", "properties": {"count": COUNT}, "required": ["count"]}


def test_a_schema_typed_or_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, schema = tmp_path / "scene.png", tmp_path / "schema.JSON"
    draw_scene(make_scene(3)).save(picture)
    schema.write_text(json.dumps(SCHEMA, indent=1))
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    told = []
    for given in (str(schema), json.dumps(SCHEMA), "~/schema.JSON"):
        asks = ["caption", str(picture), "--prompt", "How many shapes are there?", "--format", given, "--json", *FP32]
        assert main(asks) == 0
        told += records(capsys)
    assert told[0] == told[1] == told[2]
    assert list(json.loads(told[0]["caption"])) == ["count"] and json.loads(told[0]["caption"])["count"] in range(10)


def test_an_expression(capsys: pytest.CaptureFixture[str]) -> None:
    asks = ["text", "--prompt", "What is the opposite of left?", "--format", "(Right|Up)!", *FP32]
    assert main(asks) == 0
    assert capsys.readouterr().out.strip() in ("Right!", "Up!")
    assert main([*asks, "--max-new-tokens", "1"]) == 1
    told = capsys.readouterr().err
    assert "Answer 1 was cut off" in told and "minimum and maximum" in told


def test_an_answer_that_is_cut_off_costs_its_picture_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All pictures behind it had no answer, and nobody was told which it was."""
    names = []
    for count in (5, 1):
        seed = next(seed for seed in range(99) if len(make_scene(seed).shapes) == count)
        draw_scene(make_scene(seed)).save(tmp_path / f"{count}.png")
        names.append(str(tmp_path / f"{count}.png"))
    asks = ["caption", *names, "--prompt", "Describe this image.", "--format", r"[A-Za-z,: ]{10,400}\."]
    assert main([*asks, "--max-new-tokens", "16", "--json", *FP32]) == 1
    captured = capsys.readouterr()
    assert f"iaa caption: {names[0]}: Answer 1 was cut off" in captured.err
    first, second = map(json.loads, captured.out.splitlines())
    assert first["image"] == names[0] and "cut off" in first["error"]
    assert second["image"] == names[1] and second["caption"].startswith("One shape")


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
    assert main(["text", "--prompt", "x", "--format", "a", "--beams", "2"]) == 2
    assert "neither with beam search" in capsys.readouterr().err


def test_annotate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own ``--format`` is that of the files."""
    draw_scene(make_scene(1)).save(tmp_path / "a.png")
    asks = [
        "annotate",
        str(tmp_path / "a.png"),
        "--prompt",
        "How many shapes are there?",
        "--out",
        str(tmp_path / "job"),
    ]
    assert main([*asks, "--answer-format", "Count: [0-9]", *FP32]) == 0
    (record,) = map(json.loads, (tmp_path / "job" / "shard-000000.jsonl").read_text().splitlines())
    assert re.fullmatch("Count: [0-9]", record["caption"])
    capsys.readouterr()
    assert main([*asks, *FP32]) == 1, "other settings are another job"
    assert "generation" in capsys.readouterr().err
    assert main(["annotate", str(tmp_path / "a.png"), "--phrase", "ring", "--out", "x", "--answer-format", "a"]) == 2
    assert "--answer-format has no effect" in capsys.readouterr().err
