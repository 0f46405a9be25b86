"""MME: result files, scores, and questions from the release and from question files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iaa_runtime.errors import InputError
from iaa_runtime.evaluation import mme
from iaa_runtime.evaluation.mme_questions import SHORT, MmeQuestion, find_picture, read_question_file, read_release

PAIR = "a.jpg\tIs it?\tYes\tYes\na.jpg\tIs it not?\tNo\tYes\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in mme.CATEGORIES:
        (tmp_path / f"{name}.txt").write_text(PAIR)
    return tmp_path


def test_a_score_is_accuracy_and_accuracy_of_pairs(results: Path) -> None:
    (results / "count.txt").write_text(PAIR + PAIR.replace("a.jpg", "b.jpg").replace("No\tYes", "No\tNo, never"))
    summary = mme.summarize(mme.read_results(results))
    assert summary["scores"]["existence"] == 50
    assert summary["scores"]["count"] == 75 + 50
    assert summary["perception"] == 9 * 50 + 125
    assert summary["cognition"] == 4 * 50
    assert summary["details"]["count"] == {"pictures": 2, "accuracy": 0.75, "accuracy_plus": 0.5, "other": 0}
    low, high = summary["intervals_95"]["existence"]  # of one picture
    assert (round(low, 1), round(high, 1)) == (10.3, 169.0)
    low, high = summary["intervals_95"]["count"]
    assert (low, high) == (50, 200)


def test_missing_categories_are_named_unless_a_part_is_asked_for(results: Path) -> None:
    (results / "OCR.txt").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 14 categories: OCR\.txt\. .* --partial"):
        mme.read_results(results)
    summary = mme.summarize(mme.read_results(results, partial=True))
    assert summary["missing"] == ["OCR"]
    assert summary["perception"] == 9 * 50


def test_an_empty_or_absent_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks 14 of 14"):
        mme.read_results(tmp_path, partial=True)
    with pytest.raises(InputError, match="There is no folder"):
        mme.read_results(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "count.txt is empty"),
        ("a.jpg\tIs it?\tYes\n" * 2, "count.txt, line 1: 3 fields"),
        (PAIR + "\n", "line 3: 1 fields"),
        (PAIR.replace("No\tYes", "no, \tYes"), "line 2: the truth is 'no, '"),
        (PAIR.replace("a.jpg\tIs it not", "b.jpg\tIs it not"), "line 1: a.jpg has one question here"),
        (PAIR + PAIR.splitlines()[0], "line 3: a.jpg has one question here"),
        (PAIR + PAIR, "line 3: a.jpg 'Is it.' is there twice"),
    ],
)
def test_malformed_result_files_are_named(content: str, message: str, results: Path) -> None:
    (results / "count.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        mme.read_results(results)


def test_results_are_written_as_the_published_scorer_reads_them(tmp_path: Path) -> None:
    answers = [mme.Answer("a.jpg", "Is it?", "Yes", "Yes,\n\tit is"), mme.Answer("a.jpg", "Is it not?", "No", "")]
    mme.write_results(tmp_path / "new", {"count": answers})
    assert (tmp_path / "new" / "count.txt").read_text() == ("a.jpg\tIs it?\tYes\tYes, it is\na.jpg\tIs it not?\tNo\t\n")
    read = mme.read_results(tmp_path / "new", partial=True)["count"]
    assert [answer.parsed for answer in read] == ["yes", "other"]


def make_release(folder: Path) -> Path:
    """Both of the release's layouts."""
    for category, pictures, texts in (("OCR", "", ""), ("landmark", "images", "questions_answers_YN")):
        for inner in (pictures, texts):
            (folder / category / inner).mkdir(parents=True, exist_ok=True)
        for name in ("b.png", "a.jpg"):
            Image.new("RGB", (9, 7)).save(folder / category / pictures / name)
            (folder / category / texts / f"{name[0]}.txt").write_text(
                f"Is it {name[0]}?  Please answer yes or no.\tYes\nIs it c? Please answer yes or no.\tNo\n"
            )
    return folder


def test_both_layouts_of_the_release_are_read(tmp_path: Path) -> None:
    questions = read_release(make_release(tmp_path))
    assert [(q.category, q.image, q.truth) for q in questions] == [
        (category, name, truth)
        for category in ("landmark", "OCR")
        for name in ("a.jpg", "b.png")
        for truth in ("Yes", "No")
    ]
    first = questions[0]
    assert first.question == "Is it a?  Please answer yes or no."
    assert first.text == f"Is it a?\n{SHORT}"
    assert Path(first.path) == tmp_path / "landmark" / "images" / "a.jpg"
    assert find_picture(tmp_path, "landmark", "b.txt") == tmp_path / "landmark" / "images" / "b.png"
    assert find_picture(tmp_path, "OCR", "b.png") == tmp_path / "OCR" / "b.png"
    assert find_picture(tmp_path, "OCR", "z.png") is None
    assert find_picture(None, "OCR", "b.png") is None


def rows(category: str = "landmark", **more: Any) -> list[dict[str, Any]]:
    image = f"{category}/images/a.jpg" if category == "landmark" else f"{category}/a.jpg"
    return [
        {"question_id": image, "image": image, "category": category, "text": f"Is it {word}?\n{SHORT}"} | more
        for word in "ac"
    ]


def questions_of(folder: Path, wanted: list[dict[str, Any]]) -> list[MmeQuestion]:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in wanted))
    return read_question_file(path, folder)


@pytest.mark.parametrize("category", ["landmark", "OCR"])
def test_a_question_file_takes_its_answers_from_the_release(category: str, tmp_path: Path) -> None:
    asked = questions_of(make_release(tmp_path), rows(category))
    released = [q for q in read_release(tmp_path) if q.category == category and q.image == "a.jpg"]
    assert asked == released


@pytest.mark.skipif(os.sep == "\\", reason="there it is a path")
def test_a_question_file_that_windows_wrote_finds_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (9, 7)).save(tmp_path / "sub" / "x.png")
    asked = questions_of(tmp_path, [row | {"image": "sub\\x.png", "answer": "yes"} for row in rows()])
    assert {(q.image, q.path) for q in asked} == {("x.png", str(tmp_path / "sub" / "x.png"))}


def test_a_question_file_may_bring_its_answers(tmp_path: Path) -> None:
    Image.new("RGB", (9, 7)).save(tmp_path / "x.png")
    asked = questions_of(tmp_path, [row | {"image": "x.png", "answer": "yes"} for row in rows()])
    assert [(q.question, q.truth) for q in asked] == [
        ("Is it a? Please answer yes or no.", "yes"),
        ("Is it c? Please answer yes or no.", "yes"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "landmark/images/z.jpg"}, "line 1: there is no picture"),
        ({"category": "sports"}, "line 1: there is no category 'sports'"),
        ({"text": ""}, "line 1: needs 'image', 'text' and 'category'"),
        ({"text": "Is it d?"}, "has no question 'Is it d.'"),
        ({"answer": "maybe"}, "line 1: 'answer' is 'maybe'"),
    ],
)
def test_a_malformed_question_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        questions_of(make_release(tmp_path), rows(**change))


def test_a_question_without_answer_anywhere_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (9, 7)).save(tmp_path / "x.png")
    with pytest.raises(InputError, match="the true answer is unknown"):
        questions_of(tmp_path, [row | {"image": "x.png"} for row in rows()])


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\rb"])
def test_a_name_that_no_result_file_can_hold_is_refused_before_the_run(name: str, tmp_path: Path) -> None:
    (tmp_path / "OCR").mkdir()
    (tmp_path / "OCR" / f"{name}.txt").write_text("Is it a?\tYes\nIs it b?\tNo\n")
    Image.new("RGB", (9, 7)).save(tmp_path / "OCR" / f"{name}.png")
    with pytest.raises(InputError, match="has a tab or a line end"):
        read_release(tmp_path)


def test_a_release_that_is_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no questions of MME"):
        read_release(tmp_path)
    make_release(tmp_path)
    (tmp_path / "OCR" / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"The picture a of .* is not in"):
        read_release(tmp_path)
    make_release(tmp_path)
    (tmp_path / "OCR" / "a.txt").write_text("Is it a? Yes\n")
    with pytest.raises(InputError, match=r"a\.txt, line 1: 'Is it a\? Yes' is not a question"):
        read_release(tmp_path)
    (tmp_path / "OCR" / "a.txt").write_text("Is it a?\tYes\n")
    with pytest.raises(InputError, match=r"a\.jpg has one question here"):
        read_release(tmp_path)
