"""MME (Fu et al., 2023, arXiv 2306.13394): two yes-or-no questions on every picture, in fourteen categories.

A category's score is its accuracy (over questions) plus its accuracy+ (over pictures with both questions right), each
in percent: at most 200. Result files, one a category, hold a line a question, the two of a picture together: picture,
question, truth and answer, with tabs between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..jobs.files import write_bytes
from .statistics import bootstrap_interval

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
CATEGORIES = (*PERCEPTION, *COGNITION)
_PREFIX = 4
"""How much of an answer the published scorer looks at for a yes or a no."""


@dataclass(frozen=True)
class Answer:
    """One question with its true and its given answer."""

    image: str
    question: str
    truth: str
    text: str

    @property
    def said(self) -> str:
        """``yes``, ``no`` or ``other``, as the published scorer reads the answer: by its first four characters."""
        prefix = self.text.lower()[:_PREFIX]
        return "yes" if "yes" in prefix else "no" if "no" in prefix else "other"

    @property
    def right(self) -> bool:
        """Whether the answer is the true one."""
        return self.said == self.truth.lower()


def read_results(folder: Path, *, partial: bool = False) -> dict[str, list[Answer]]:
    """Reads the result files of a folder by category.

    Args:
        folder: holds ``existence.txt``, ``count.txt`` and so on; other files are not looked at.
        partial: accept that categories are missing.

    Raises:
        InputError: categories are missing, or a line is malformed; names file and line.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Give the one that holds existence.txt, count.txt and so on.")
    missing = [name for name in CATEGORIES if not (folder / f"{name}.txt").is_file()]
    if len(missing) == len(CATEGORIES) or (missing and not partial):
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(CATEGORIES)} categories: {', '.join(f'{m}.txt' for m in missing)}. "
            "Finish the run, or score what is there with --partial."
        )
    return {name: _read_category(folder / f"{name}.txt") for name in CATEGORIES if name not in missing}


def _read_category(path: Path) -> list[Answer]:
    try:
        with path.open(encoding="utf-8") as file:
            lines = [line.removesuffix("\n") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    answers: list[Answer] = []
    for number, line in enumerate(lines, 1):
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
    for place in range(0, len(answers), 2):
        pair = answers[place : place + 2]
        if len(pair) < 2 or pair[0].image != pair[1].image:
            raise InputError(
                f"{where}, line {place + 1}: {pair[0].image} has one question here, but each picture has two, one "
                "after the other. Is a line missing?"
            )
    seen: set[tuple[str, str, str]] = set()
    for number, answer in enumerate(answers, 1):
        key = (answer.image, answer.question, answer.truth)
        if key in seen:
            raise InputError(f"{where}, line {number}: {answer.image} {answer.question!r} is there twice.")
        seen.add(key)


def score_category(answers: Sequence[Answer]) -> float:
    """Accuracy and accuracy+ in percent, added: 0..200. Answers other than yes and no are wrong."""
    pairs = [answers[place : place + 2] for place in range(0, len(answers), 2)]
    accuracy = sum(answer.right for answer in answers) / len(answers)
    accuracy_plus = sum(all(answer.right for answer in pair) for pair in pairs) / len(pairs)
    return accuracy * 100 + accuracy_plus * 100


def summarize(results: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Scores of all categories.

    Returns:
        ``perception`` and ``cognition``, sums of their categories' scores (at most 2000 and 800) as the published
        scorer prints them; ``scores`` by category; ``intervals_95`` by category (bootstrap over pictures); ``details``
        by category (``pictures``, ``accuracy``, ``accuracy_plus``, ``other``: answers that are neither yes nor no); and
        ``missing`` categories, which count nothing.
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
    pairs = [answers[place : place + 2] for place in range(0, len(answers), 2)]
    return {
        "pictures": len(pairs),
        "accuracy": sum(answer.right for answer in answers) / len(answers),
        "accuracy_plus": sum(all(answer.right for answer in pair) for pair in pairs) / len(pairs),
        "other": sum(answer.said == "other" for answer in answers),
    }


def _interval(answers: Sequence[Answer]) -> tuple[float, float]:
    """Per picture: half a point for each right answer, a whole one for both; times 100, that is the score."""
    points = []
    for place in range(0, len(answers), 2):
        right = [answer.right for answer in answers[place : place + 2]]
        points.append((50.0 * sum(right), 100.0 * all(right)))
    return bootstrap_interval(points, [1] * len(points))


def write_results(folder: Path, results: Mapping[str, Sequence[Answer]]) -> None:
    """Writes result files as the published scorer reads them; line ends and tabs in answers become blanks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, answers in results.items():
        lines = ["\t".join((a.image, a.question, a.truth, " ".join(a.text.split()))) + "\n" for a in answers]
        write_bytes(folder / f"{name}.txt", "".join(lines).encode())
