"""``iaa track``, and ``--points``: what becomes of boxes on their way to masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import records, run_module

from iaa_runtime.boxes.points import box_points
from iaa_runtime.cli import main
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene


def frame(number: int, *boxes: dict[str, Any]) -> dict[str, Any]:
    """A line of ``iaa ground --json``."""
    return {"image": f"{number}.png", "phrases": ["the dog", "the cat"], "detections": list(boxes)}


def box(x: int, label: str = "the dog") -> dict[str, Any]:
    """A box at ``x``."""
    return {"x": x, "y": 0, "width": 40, "height": 30, "label": label, "score": 0.5}


WALK = [
    frame(1, box(0), box(200, "the cat")),
    frame(2, box(200, "the cat"), box(10)),
    {"image": "3.png", "error": "cannot be opened"},
    frame(4, box(30)),
]


def lines(rows: list[Any]) -> str:
    """Rows as lines of JSON."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_boxes_keep_their_numbers_and_a_frame_that_was_not_opened_is_filled(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "found.jsonl"
    found.write_text(lines(WALK))
    assert main(["track", str(found), "--json"]) == 0
    told = records(capsys)
    assert [[(b["track"], b["label"], b["x"]) for b in row["detections"]] for row in told] == [
        [(1, "the dog", 0), (2, "the cat", 200)],
        [(1, "the dog", 10), (2, "the cat", 200)],
        [(1, "the dog", 20)],
        [(1, "the dog", 30)],
    ]
    assert [row["image"] for row in told] == ["1.png", "2.png", "3.png", "4.png"]
    assert told[2]["error"] == "cannot be opened" and told[2]["detections"][0]["filled"] is True
    assert told[0]["phrases"] == ["the dog", "the cat"]
    done = run_module(project, ["track", "-", "--gap", "0"], lines(WALK).encode())
    assert done.returncode == 0 and b"3 tracks in 4 frames" in done.stderr
    assert b"  1 the dog: x=10 y=0 width=40 height=30 score=0.50" in done.stdout.splitlines()


def test_no_boxes_are_no_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "found.jsonl"
    found.write_text(lines([frame(1), frame(2)]))
    assert main(["track", str(found), "--json"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["detections"] for line in captured.out.splitlines()] == [[], []]
    assert "0 tracks in 2 frames" in captured.err


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "b.png"}, 'line 2: needs an "image" and its "detections"'),
        ({"detections": []}, 'line 2: needs an "image" and its "detections"'),
        ({"image": "b.png", "detections": {"x": 1}}, 'line 2: needs an "image" and its "detections"'),
        ({"image": "b.png", "detections": [{"x": 1}]}, "line 2: 'y' of box 1"),
        ({"image": "b.png", "detections": [box(1) | {"x": float("nan")}]}, "line 2: 'x' of box 1"),
        ({"image": "b.png", "detections": [[box(1)], [box(2)]]}, 'line 2: needs an "image" and its "detections"'),
        ({"image": "b.png", "detections": [7]}, 'line 2: needs an "image" and its "detections"'),
        ([], "line 2: list, not an object in braces. Mend or remove the line."),
    ],
)
def test_a_line_that_is_no_record_is_named(
    row: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "found.jsonl"
    found.write_text(lines([frame(1, box(0)), row]))
    assert main(["track", str(found), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and said in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize(
    "words", [["--iou", "0"], ["--gap", "-1"], ["--smoothing", "1001"], ["--iou", "nan"]], ids=" ".join
)
def test_what_cannot_be_followed_is_a_bad_argument(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["track", str(tmp_path / "none.jsonl"), *words]) == 2
    assert "Give" in capsys.readouterr().err


def test_points_lie_beside_their_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = str(tmp_path / "scene.png")
    draw_scene(make_scene(EVALUATION_SEED)).save(scene)
    asks = [
        "ground",
        scene,
        "--phrase",
        "the shape",
        "--threshold",
        "0",
        "--dtype",
        "fp32",
        "--device",
        "cpu",
        "--quiet",
    ]
    assert main([*asks, "--json", "--points", "2"]) == 0
    (record,) = records(capsys)
    assert record["detections"]
    for found in record["detections"]:
        assert found["points"] == box_points(found, 2) and len(found["points"]) == 4
    rows = [record | {"image": name} for name in ("a.png", "b.png", "c.png")]
    rows[1] = {"image": "b.png", "phrases": [], "detections": []}
    rows[2] = rows[2] | {"detections": [found | {"x": found["x"] + 8} for found in record["detections"]]}
    (tmp_path / "found.jsonl").write_text(lines(rows))
    for points, count in (((), 0), (("--points", "1"), 1)):
        assert main(["track", str(tmp_path / "found.jsonl"), "--json", *points]) == 0
        boxes = [box for row in records(capsys) for box in row["detections"]]
        assert len(boxes) == 3 * len(record["detections"])
        assert all(box.get("points", []) == (box_points(box, count) if count else []) for box in boxes)
    assert main([*asks, "--points", "2"]) == 2
    assert "--points has no effect without --json" in capsys.readouterr().err
