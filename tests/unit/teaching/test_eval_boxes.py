"""``iaa eval boxes``: what annotate found is scored as it was asked, kept with its origin, and compared, paired."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import run_where_nothing_can_be_written

from iaa_runtime.boxes.answers import Detection
from iaa_runtime.cli import main
from iaa_runtime.errors import InputError
from iaa_runtime.jobs.origin import read_origin
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene
from iaa_runtime.teaching.compare import case_record, compare_boxes, read_cases
from iaa_runtime.teaching.examples import Example
from iaa_runtime.teaching.scores import BoxCase

SHARD = "found/shard-000000.jsonl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes, a list with other phrases for each, and what annotate found."""
    folder = tmp_path_factory.mktemp("scenes")
    rows = []
    for number in range(3):
        scene = make_scene(EVALUATION_SEED + number)
        draw_scene(scene).save(folder / f"{number}.png")
        phrases = sorted({f"the {shape.color} {shape.kind}" for shape in scene.shapes})
        rows.append({"image": f"{number}.png", "phrases": phrases})
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asks = [str(folder / "list.jsonl"), "--boxes", "--out", str(folder / "found")]
    assert main(["annotate", *asks, "--dtype", "fp32", "--quiet"]) == 0
    return folder


def scored(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    asks = [str(folder / SHARD), "--images", str(folder), "--dtype", "fp32", *words]
    assert main(["eval", "boxes", *asks, "--json"]) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    return summary


def test_what_annotate_found_is_found_again_and_nothing_counts_as_absent(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [json.loads(line) for line in (folder / SHARD).read_text().splitlines()]
    asked = [json.loads(line) for line in (folder / "list.jsonl").read_text().splitlines()]
    assert [row["phrases"] for row in found] == [row["phrases"] for row in asked]
    missed = sum(len({*row["phrases"]} - {box["label"] for box in row["detections"]}) for row in found)
    summary = scored(folder, capsys)
    assert summary["count"] + summary["absent"] == sum(len(row["phrases"]) for row in asked)
    assert (summary["precision_at_0.75"], summary["absent"], summary["false_boxes"] or 0) == (1, missed, 0)


def test_pictures_that_all_lack_a_thing_are_scored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "lacking.jsonl"
    lines.write_text(json.dumps({"image": "0.png", "phrases": ["the elephant"], "detections": []}) + "\n")
    assert main(["eval", "boxes", str(lines), "--images", str(folder), "--dtype", "fp32", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["count"], summary["absent"], summary["precision_at_0.5"]) == (0, 1, None)
    assert summary["false_boxes"] in (0, 1)


def test_results_carry_their_origin_and_are_compared(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "new" / "b.jsonl"
    first = scored(folder, capsys, "--out", str(a))
    second = scored(folder, capsys, "--out", str(b), "--threshold", "0.97")
    assert read_origin(a) == first["origin"] and read_origin(b) == second["origin"]
    assert first["origin"]["count"] == first["count"] and second["origin"]["settings"]["threshold"] == 0.97
    assert main(["eval", "compare", str(a), str(b), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    measure = compared["precision_at_0.5"]
    assert (measure["first"], measure["second"]) == (first["precision_at_0.5"], second["precision_at_0.5"])
    assert measure["second"] < 1 and measure["interval_95"][0] <= measure["difference"] < 0
    assert compared["only_first"] > 0 == compared["only_second"] and compared["count"] == first["count"]
    assert main(["eval", "compare", str(a), str(b)]) == 0
    assert "precision_at_0.75" in capsys.readouterr().out
    a.write_text("".join(a.read_text().splitlines(keepends=True)[1:]))
    assert main(["eval", "compare", str(a), str(b)]) == 1
    assert "other phrases, boxes or pictures" in capsys.readouterr().err
    assert main(["eval", "compare", str(a), str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl" in capsys.readouterr().err


def test_a_record_of_somebody_else_is_not_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl.about.json").write_text("mine")
    asks = [str(folder / SHARD), "--images", str(folder), "--out", str(tmp_path / "a.jsonl")]
    assert main(["eval", "boxes", *asks]) == 1
    assert "no record of a run" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl.about.json"]


@pytest.mark.skipif(os.name == "nt", reason="a limit of files that Windows does not have")
@pytest.mark.parametrize("asks", ["boxes", "shapes"])
def test_scores_that_cannot_be_written_are_told(folder: Path, tmp_path: Path, asks: str) -> None:
    boxes = ["boxes", str(folder / SHARD), "--images", str(folder), "--out", str(tmp_path / "a")]
    shapes = ["shapes", "--scenes", "1", "--report", str(tmp_path / "a")]
    run = run_where_nothing_can_be_written(["eval", *(boxes if asks == "boxes" else shapes), "--json"])
    assert run.returncode == 1 and "cannot be written (File too large). Free space there" in run.stderr
    assert json.loads(run.stdout)["origin"]["count"] and not list(tmp_path.iterdir())


def case(boxes: int, found: int, picture: str = "a.png") -> BoxCase:
    """A phrase with boxes beside each other, of which the first ones are found."""
    true = tuple((10.0 * n, 0.0, 10.0 * n + 8, 8.0) for n in range(boxes))
    return BoxCase(
        Example(Path(picture), "cat", true), tuple(Detection(10 * n, 0, 8, 8, "cat", 0.5) for n in range(found))
    )


def test_absent_phrases_are_compared_apart() -> None:
    compared = compare_boxes([case(1, 1), case(2, 2), case(0, 0)], [case(1, 1), case(2, 1), case(0, 1)])
    assert {name: row["difference"] for name, row in compared.items() if isinstance(row, dict)} == {
        "precision_at_0.5": -0.25,
        "precision_at_0.75": -0.25,
        "mean_iou": pytest.approx(-1 / 3),
        "false_boxes": 1,
    }
    assert (compared["count"], compared["only_first"], compared["only_second"]) == (3, 2, 0)
    assert "false_boxes" not in compare_boxes([case(1, 1)], [case(1, 1)])


@pytest.mark.parametrize("change", [{"boxes": [[1, 2]]}, {"detections": [5]}, {"detections": 5}, {"image": 5}])
def test_a_line_that_is_no_case_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    good = case_record(case(1, 1))
    (tmp_path / "a.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(good | change) + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: it is no case"):
        read_cases(tmp_path / "a.jsonl")
