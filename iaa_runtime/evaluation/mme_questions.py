"""What MME asks: from the release's folders, or from a question file beside a folder of pictures.

The release has a folder a category. In it, or in its ``questions_answers_YN``, lies a text file for each picture (which
is beside it, or in ``images``): two lines with question and answer, a tab between. A question file has a JSON object a
line: ``question_id``, ``image`` (from the picture folder), ``text``, ``category``, and perhaps ``answer``; without it,
the picture folder must be the release's, whose answers are then looked up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..jobs.files import numbered_jsonl
from .mme import CATEGORIES, Answer, check_pairs

YES_OR_NO = "Please answer yes or no."
SHORT = "Answer the question using a single word or phrase."
"""With which the release ends a question, and with which the published evaluation of IAA ends it instead."""

_PICTURES = (".jpg", ".png", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class MmeQuestion:
    """One question: ``text`` is what the model is asked, ``question`` what result files say."""

    category: str
    image: str
    path: str
    question: str
    text: str
    truth: str


def read_release(folder: Path) -> list[MmeQuestion]:
    """Reads the questions of the release's folders, category by category, pictures by name.

    Raises:
        InputError: there is no category, a line is malformed, or a picture is missing.
    """
    questions = [
        question
        for category in CATEGORIES
        if (folder / category).is_dir()
        for file in sorted(_question_folder(folder / category).glob("*.txt"))
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
    """Looks for a picture of a result file, in the release's layouts; None where it is not at hand.

    Args:
        folder: the release's, or a question file's.
        category: the picture's.
        name: the picture's; the published tools write the name of its text file there instead.
    """
    if folder is None:
        return None
    places = [Path(folder) / category / "images", Path(folder) / category]
    names = [name, *(Path(name).stem + suffix for suffix in _PICTURES)]
    return next((p / n for p in places for n in names if Path(n).suffix != ".txt" and (p / n).is_file()), None)


def _question_folder(category: Path) -> Path:
    inner = category / "questions_answers_YN"
    return inner if inner.is_dir() else category


def _picture_folder(category: Path) -> Path:
    inner = category / "images"
    return inner if inner.is_dir() else category


def _read_pair(category: str, file: Path) -> Iterator[MmeQuestion]:
    pictures = _picture_folder(file.parent.parent if file.parent.name == "questions_answers_YN" else file.parent)
    found = [pictures / (file.stem + suffix) for suffix in _PICTURES]
    picture = next((path for path in found if path.is_file()), None)
    if picture is None:
        raise InputError(f"The picture {file.stem} of {file} is not in {pictures}. Is the release complete?")
    for question, truth in _question_lines(file):
        plain = question.removesuffix(YES_OR_NO).strip()
        yield MmeQuestion(category, picture.name, str(picture), question, f"{plain}\n{SHORT}", truth)


def _question_lines(file: Path) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(_lines(file), 1):
        question, tab, truth = line.strip().partition("\t")
        if not tab or truth.strip().lower() not in ("yes", "no"):
            raise InputError(f"{file}, line {number}: {line!r} is not a question, a tab, and Yes or No.")
        pairs.append((question.strip(), truth.strip()))
    return pairs


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}).") from error


def read_question_file(path: Path, folder: Path) -> list[MmeQuestion]:
    """Reads a question file; the order is the file's.

    Args:
        path: a JSON object a line.
        folder: where the pictures are.

    Raises:
        InputError: a line is malformed, a picture is missing, or the true answer is nowhere to be found.
    """
    questions = []
    for number, row in numbered_jsonl(path):
        where = f"{path}, line {number}"
        if not all(isinstance(row.get(name), str) and row[name].strip() for name in ("image", "text", "category")):
            raise InputError(f"{where}: needs 'image', 'text' and 'category', all texts; it has {', '.join(row)}.")
        if row["category"] not in CATEGORIES:
            raise InputError(f"{where}: there is no category {row['category']!r}. MME has {', '.join(CATEGORIES)}.")
        picture = folder / row["image"]
        if not picture.is_file():
            raise InputError(f"{where}: there is no picture {picture}. Check --images.")
        question, truth = _truth(row, picture, where)
        questions.append(MmeQuestion(row["category"], picture.name, str(picture), question, row["text"], truth))
    if not questions:
        raise InputError(f"{path} holds no question.")
    _check(questions, path)
    return questions


def _truth(row: dict[str, Any], picture: Path, where: str) -> tuple[str, str]:
    """The question as result files have it, and its true answer."""
    wanted = _core(row["text"])
    if "answer" in row:
        if str(row["answer"]).lower() not in ("yes", "no"):
            raise InputError(f"{where}: 'answer' is {row['answer']!r}; it must be Yes or No.")
        return f"{wanted} {YES_OR_NO}", str(row["answer"])
    for file in _answer_files(picture):
        if file.is_file():
            for question, truth in _release_pair(file):
                if _core(question) == wanted:
                    return question, truth
            raise InputError(f"{where}: {file} has no question {wanted!r}. Do the files belong together?")
    raise InputError(
        f"{where}: the true answer is unknown: the line has no 'answer', and there is no {_answer_files(picture)[0]} "
        "as in MME's release."
    )


def _answer_files(picture: Path) -> list[Path]:
    name = f"{picture.stem}.txt"
    return [picture.parent.parent / "questions_answers_YN" / name, picture.with_name(name)]


@lru_cache(maxsize=64)
def _release_pair(file: Path) -> tuple[tuple[str, str], ...]:
    return tuple(_question_lines(file))


def _core(question: str) -> str:
    """A question without its ending, blanks evened out: the release and question files differ in those."""
    return " ".join(question.replace(SHORT, " ").replace(YES_OR_NO, " ").split())


def _check(questions: list[MmeQuestion], where: Path) -> None:
    for category in dict.fromkeys(question.category for question in questions):
        asked = [Answer(q.image, q.question, q.truth, "") for q in questions if q.category == category]
        check_pairs(asked, f"{where} ({category})")
