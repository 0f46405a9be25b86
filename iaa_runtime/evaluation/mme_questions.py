"""Reads MME's questions: from the release's folders, or from a question file beside a folder of pictures.

The release has a folder for each category. In it, or in its ``questions_answers_YN``, is a text file for each picture
(which is beside it, or in ``images``): two lines of a question, a tab and the answer. A question file has a JSON object
a line: ``question_id``, ``image`` (relative to the picture folder), ``text``, ``category``, and perhaps ``answer``;
without it, the picture folder must be the release's, where the answer is then looked up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..images.names import path_in_list
from ..jobs.files import check_text, numbered_jsonl, read_text
from .mme import CATEGORIES, Answer, check_pairs

YES_OR_NO = "Please answer yes or no."
SHORT = "Answer the question using a single word or phrase."
"""How the release ends a question, and how the published evaluation of IAA ends it instead."""

_QUESTIONS = "questions_answers_YN"
_PICTURES = (".jpg", ".png", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class MmeQuestion:
    """A question: ``text`` goes to the model, ``question`` into result files; ``file`` holds it and its answer."""

    category: str
    image: str
    path: str
    question: str
    text: str
    truth: str
    file: str


def read_release(folder: Path) -> list[MmeQuestion]:
    """Reads the questions of the release's folders, category by category, pictures by name.

    Raises:
        InputError: there is no category, a line is malformed, or a picture is missing.
    """
    questions = [
        question
        for category in CATEGORIES
        if (folder / category).is_dir()
        for file in sorted(_inner_folder(folder / category, _QUESTIONS).glob("*.txt"))
        for question in _read_pair(category, file)
    ]
    if not questions:
        raise InputError(
            f"{folder} holds no questions of MME. It should hold a folder a category ({', '.join(CATEGORIES[:3])}, …), "
            "with text files in it or in its questions_answers_YN."
        )
    _check(questions, folder)
    return questions


def find_picture(folder: str | Path | None, category: str, name: str) -> Path | None:
    """The file of a picture that a result file names, in any layout of the release; None if it is not there.

    Args:
        folder: of the release, or of a question file's pictures.
        category: of the question.
        name: of the picture; the published tools write the name of its text file instead.
    """
    if folder is None:
        return None
    names = [name] if Path(name).suffix != ".txt" else []
    names += [Path(name).stem + suffix for suffix in _PICTURES]
    return _first_file(Path(folder) / category / inner / name for inner in ("images", "") for name in names)


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if os.path.isfile(path)), None)


def _inner_folder(category: Path, name: str) -> Path:
    """A folder inside a category's, or the category's own if there is none of that name."""
    return category / name if (category / name).is_dir() else category


def _read_pair(category: str, file: Path) -> Iterator[MmeQuestion]:
    """The two questions of a picture's text file."""
    pictures = _inner_folder(file.parent.parent if file.parent.name == _QUESTIONS else file.parent, "images")
    picture = _first_file(pictures / (file.stem + suffix) for suffix in _PICTURES)
    if picture is None:
        raise InputError(f"The picture {file.stem} of {file} is not in {pictures}. Is the release complete?")
    for question, truth in _question_lines(file):
        plain = question.removesuffix(YES_OR_NO).strip()
        yield MmeQuestion(category, picture.name, str(picture), question, f"{plain}\n{SHORT}", truth, str(file))


def _question_lines(file: Path) -> list[tuple[str, str]]:
    """(question, true answer) of each line."""
    lines = [line for line in read_text(file).split("\n") if line.strip()]
    pairs = []
    for number, line in enumerate(lines, 1):
        question, tab, truth = line.strip().partition("\t")
        if not tab or truth.strip().lower() not in ("yes", "no"):
            raise InputError(f"{file}, line {number}: {line!r} is not a question, a tab, and Yes or No.")
        pairs.append((question.strip(), truth.strip()))
    return pairs


def read_question_file(path: Path, folder: Path) -> list[MmeQuestion]:
    """Reads a question file, in its order.

    Args:
        path: a JSON object a line.
        folder: where the pictures are.

    Raises:
        InputError: a line is malformed, a picture is missing, or the true answer is unknown.
    """
    questions = []
    for number, row in numbered_jsonl(path):
        where = f"{path}, line {number}"
        if not all(isinstance(row.get(name), str) and row[name].strip() for name in ("image", "text", "category")):
            raise InputError(f"{where}: needs 'image', 'text' and 'category', all texts; it has {', '.join(row)}.")
        check_text(row["image"] + row["text"], where)
        if row["category"] not in CATEGORIES:
            raise InputError(f"{where}: there is no category {row['category']!r}. MME has {', '.join(CATEGORIES)}.")
        picture = path_in_list(folder, row["image"])
        if not os.path.isfile(picture):
            raise InputError(f"{where}: there is no picture {picture}. Check --images.")
        question, truth, file = _truth(row, picture, path, where)
        questions.append(
            MmeQuestion(row["category"], picture.name, str(picture), question, row["text"], truth, str(file))
        )
    if not questions:
        raise InputError(f"{path} holds no question.")
    _check(questions, path)
    return questions


def _truth(row: dict[str, Any], picture: Path, path: Path, where: str) -> tuple[str, str, Path]:
    """The question as it goes into result files, its true answer, and the file with the answer."""
    wanted = _core(row["text"])
    if "answer" in row:
        if str(row["answer"]).lower() not in ("yes", "no"):
            raise InputError(f"{where}: 'answer' is {row['answer']!r}; it must be Yes or No.")
        return f"{wanted} {YES_OR_NO}", str(row["answer"]), path
    name = f"{picture.stem}.txt"
    candidates = [picture.parent.parent / _QUESTIONS / name, picture.with_name(name)]
    file = _first_file(candidates)
    if file is None:
        raise InputError(
            f"{where}: the true answer is unknown: the line has no 'answer', and there is no {candidates[0]} as in "
            "MME's release."
        )
    for question, truth in _question_lines(file):
        if _core(question) == wanted:
            return question, truth, file
    raise InputError(f"{where}: {file} has no question {wanted!r}. Do the files belong together?")


def _core(question: str) -> str:
    """A question without its ending and with single blanks: the release and question files differ in those."""
    return " ".join(question.replace(SHORT, " ").replace(YES_OR_NO, " ").split())


def _check(questions: list[MmeQuestion], where: Path) -> None:
    for question in questions:
        if any(mark in question.image for mark in "\t\n\r"):
            raise InputError(
                f"{where}: the name of the picture {question.image!r} has a tab or a line end, which part the fields "
                "of result files. Rename it."
            )
    for category in dict.fromkeys(question.category for question in questions):
        asked = [Answer(q.image, q.question, q.truth, "") for q in questions if q.category == category]
        check_pairs(asked, f"{where} ({category})")
