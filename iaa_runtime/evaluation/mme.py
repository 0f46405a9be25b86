"""Scores MME (Fu et al., 2023, arXiv 2306.13394): two yes-or-no questions on every picture, in fourteen categories.

A category's score is its accuracy (over questions) plus its accuracy+ (over pictures with both questions right), each
in percent: at most 200. There is a result file for each category, with a line for each question, the two of a picture
together: picture, question, truth and answer, separated by tabs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..jobs.files import make_folder, read_text, write_bytes
from .statistics import bootstrap_interval

PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
CATEGORIES = (*PERCEPTION, *COGNITION)
_PREFIX = 4
"""Characters of an answer in which the published scorer looks for yes or no."""


@dataclass(frozen=True)
class Answer:
    """A question with its true answer (``truth``) and the model's (``text``)."""

    image: str
    question: str
    truth: str
    text: str

    @property
    def parsed(self) -> str:
        """``yes``, ``no`` or ``other``, as the published scorer parses the answer: by its first four characters."""
        prefix = self.text.lower()[:_PREFIX]
        return "yes" if "yes" in prefix else "no" if "no" in prefix else "other"

    @property
    def right(self) -> bool:
        """Whether the answer is the true one."""
        return self.parsed == self.truth.lower()


def result_file(folder: Path, category: str) -> Path:
    """A category's result file."""
    return folder / f"{category}.txt"


def read_results(folder: Path, *, partial: bool = False) -> dict[str, list[Answer]]:
    """Reads the result files of a folder.

    Args:
        folder: holds ``existence.txt``, ``count.txt`` and so on; other files are ignored.
        partial: accept that categories are missing.

    Returns:
        The answers of each category.

    Raises:
        InputError: categories are missing, or a line is malformed; names file and line.
    """
    if not os.path.isdir(folder):
        raise InputError(f"There is no folder {folder}. Give the one that holds existence.txt, count.txt and so on.")
    missing = [name for name in CATEGORIES if not os.path.isfile(result_file(folder, name))]
    if len(missing) == len(CATEGORIES) or (missing and not partial):
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(CATEGORIES)} categories: {', '.join(f'{m}.txt' for m in missing)}. "
            "Finish the run, or score what is there with --partial."
        )
    return {name: _read_category(result_file(folder, name)) for name in CATEGORIES if name not in missing}


def _read_category(path: Path) -> list[Answer]:
    lines = read_text(path).removesuffix("\n").split("\n")
    answers: list[Answer] = []
    for number, line in enumerate(lines if any(lines) else (), 1):
        fields = line.split("\t")
        if len(fields) != 4:
            raise InputError(
                f"{path}, line {number}: {len(fields)} fields instead of picture, question, truth and answer, with "
                "tabs between. Line ends and tabs inside an answer must be blanks."
            )
        answer = Answer(*fields)
        if answer.truth.lower() not in ("yes", "no"):
            raise InputError(f"{path}, line {number}: the truth is {answer.truth!r}; it must be Yes or No.")
        answers.append(answer)
    check_pairs(answers, str(path))
    return answers


def check_pairs(answers: Sequence[Answer], where: str) -> None:
    """Raises :class:`InputError` unless the questions come in pairs on one picture, none of them twice."""
    if not answers:
        raise InputError(f"{where} is empty.")
    for number, pair in enumerate(_pairs(answers)):
        if len(pair) < 2 or pair[0].image != pair[1].image:
            raise InputError(
                f"{where}, line {2 * number + 1}: {pair[0].image} has one question here, but each picture has two, one "
                "after the other. Is a line missing?"
            )
    seen: set[tuple[str, str, str]] = set()
    for number, answer in enumerate(answers, 1):
        key = (answer.image, answer.question, answer.truth)
        if key in seen:
            raise InputError(f"{where}, line {number}: {answer.image} {answer.question!r} is there twice.")
        seen.add(key)


def _pairs(answers: Sequence[Answer]) -> list[Sequence[Answer]]:
    """The two answers about each picture."""
    return [answers[start : start + 2] for start in range(0, len(answers), 2)]


def _accuracies(answers: Sequence[Answer]) -> tuple[float, float]:
    """Accuracy and accuracy+, each in [0, 1]."""
    pairs = _pairs(answers)
    both = sum(all(answer.right for answer in pair) for pair in pairs)
    return sum(answer.right for answer in answers) / len(answers), both / len(pairs)


def score_category(answers: Sequence[Answer]) -> float:
    """Accuracy and accuracy+ in percent, added: 0..200. Answers other than yes and no are wrong."""
    accuracy, accuracy_plus = _accuracies(answers)
    return accuracy * 100 + accuracy_plus * 100


def summarize(results: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Scores of all categories.

    Returns:
        ``perception`` and ``cognition``, sums of their categories' scores (at most 2000 and 800) as the published
        scorer prints them; ``scores`` by category; ``intervals_95`` by category (bootstrap over pictures); ``details``
        by category (``pictures``, ``accuracy``, ``accuracy_plus``, ``other``: answers that are neither yes nor no); and
        ``missing`` categories, which add nothing to the sums.
    """
    scores = {name: score_category(results[name]) for name in CATEGORIES if name in results}
    return {
        "perception": _sum(scores, PERCEPTION),
        "cognition": _sum(scores, COGNITION),
        "scores": scores,
        "intervals_95": {name: list(_interval(results[name])) for name in scores},
        "details": {name: _details(results[name]) for name in scores},
        "missing": [name for name in CATEGORIES if name not in results],
    }


def _sum(scores: Mapping[str, float], names: Iterable[str]) -> float:
    return sum(scores[name] for name in names if name in scores)


def _details(answers: Sequence[Answer]) -> dict[str, Any]:
    accuracy, accuracy_plus = _accuracies(answers)
    return {
        "pictures": len(_pairs(answers)),
        "accuracy": accuracy,
        "accuracy_plus": accuracy_plus,
        "other": sum(answer.parsed == "other" for answer in answers),
    }


def picture_scores(answers: Sequence[Answer]) -> list[float]:
    """What each picture adds: 50 for each right answer and 100 for both. Their mean is the category's score."""
    rights = [[answer.right for answer in pair] for pair in _pairs(answers)]
    return [50.0 * sum(right) + 100.0 * all(right) for right in rights]


def _interval(answers: Sequence[Answer]) -> tuple[float, float]:
    scores = picture_scores(answers)
    return bootstrap_interval(scores, [1] * len(scores), bounds=(0.0, 200.0))


def write_results(folder: Path, results: Mapping[str, Sequence[Answer]]) -> None:
    """Writes result files in the published scorer's format, over none that says something else.

    Line ends and tabs in answers become blanks.
    """
    make_folder(folder)
    for name, answers in results.items():
        lines = ["\t".join((a.image, a.question, a.truth, " ".join(a.text.split()))) + "\n" for a in answers]
        write_bytes(result_file(folder, name), "".join(lines).encode(errors="backslashreplace"))
