"""Writes a benchmark's result as one self-contained HTML page: numbers, and the worst cases in pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..boxes.geometry import Box
from ..errors import InputError
from ..images.load import load_image
from ..images.names import path_in_list
from ..images.page import Markup, embedded, figure, figures, note, origin, page, table
from ..jobs.files import make_folder, write_bytes
from .mme import Answer
from .refcoco import Case
from .shapes import MEANINGS

WORST = 24
"""Cases on a page."""
_TRUTH, _ANSWER = "#1a9850", "#d73027"


def write_refcoco_page(
    path: Path,
    cases: Sequence[Case],
    summary: Mapping[str, Any],
    images: Path | None,
    overwrite: bool = False,
) -> None:
    """Writes the page of a RefCOCO result: precision, IoU distribution, groups, and the cases of the lowest IoU.

    Args:
        path: the file.
        cases: scored answers.
        summary: of :func:`iaa_runtime.evaluation.refcoco.summarize`.
        images: the folder of the pictures; None shows the cases without them.
        overwrite: replace a file with other content.
    """
    low, high = summary["interval_95"]
    mean_low, mean_high = summary["mean_iou_interval_95"]
    shown = sorted((case for case in cases if not case.hit), key=lambda case: case.iou)[:WORST]
    body = [
        f"<p>Precision at IoU 0.5: <b>{summary['precision_at_0.5']:.4f}</b> ({summary['tp']:,} of {len(cases):,}; "
        f"95 % Wilson interval {low:.4f} to {high:.4f}). Mean IoU {summary['mean_iou']:.4f} (95 % bootstrap over "
        f"pictures, {mean_low:.4f} to {mean_high:.4f}). {summary['unreadable']:,} answers could not be read.</p>",
        "<h2>How well boxes fit</h2>",
        _histogram(summary["iou_histogram"]),
        "<h2>By size of the target</h2><p class='note'>Area below 32², below 96² and from 96² pixels on.</p>",
        _groups(summary["by_size"]),
        "<h2>By shape of the picture</h2><p class='note'>Long over short side: to 1.1, 1.34, 1.51, and longer.</p>",
        _groups(summary["by_aspect"]),
        f"<h2>The {len(shown)} worst</h2><p class='note'>The <span class='true'>right box</span> and the "
        "<span class='answer'>answer</span>.</p>",
        figures(_case(case, images) for case in shown),
    ]
    _write(path, "RefCOCO", [*body, *origin(summary.get("origin"))], overwrite)


def write_mme_page(
    path: Path,
    results: Mapping[str, Sequence[Answer]],
    summary: Mapping[str, Any],
    find: Callable[[str, str], Path | None],
    overwrite: bool = False,
) -> None:
    """Writes the page of an MME result: scores, and wrong answers of each category in turn, the weakest first.

    Args:
        path: the file.
        results: answers by category.
        summary: of :func:`iaa_runtime.evaluation.mme.summarize`.
        find: from a category and a picture's name in the results to its file; None if there is none.
        overwrite: replace a file with other content.
    """
    rows = [
        (
            name,
            f"{score:.2f}",
            "{:.1f} to {:.1f}".format(*summary["intervals_95"][name]),
            "{accuracy:.3f} / {accuracy_plus:.3f} / {other}".format(**summary["details"][name]),
        )
        for name, score in summary["scores"].items()
    ]
    shown = _wrong(results, sorted(summary["scores"], key=summary["scores"].get))
    body = [
        f"<p>Perception <b>{summary['perception']:.2f}</b> of 2000, cognition <b>{summary['cognition']:.2f}</b> of 800."
        + (f" Not scored: {escape(', '.join(summary['missing']))}." if summary["missing"] else "")
        + "</p>",
        table(("category", "score of 200", "95 % bootstrap over pictures", "accuracy / accuracy+ / neither"), rows),
        f"<h2>{len(shown)} wrong answers</h2>",
        figures(_mistake(category, answer, find(category, answer.image)) for category, answer in shown),
    ]
    _write(path, "MME", [*body, *origin(summary.get("origin"))], overwrite)


def write_shapes_page(path: Path, result: Mapping[str, Any], overwrite: bool = False) -> None:
    """Writes the page of a run on the demo's scenes: measures with what they mean, and mistakes.

    Args:
        path: the file.
        result: ``measures``, ``mistakes`` and ``details``, as ``iaa eval shapes`` prints them, and perhaps ``origin``.
        overwrite: replace a file with other content.
    """
    rows = []
    for name, value in result["measures"].items():
        detail = result["details"][name]
        interval = "{:.4f} to {:.4f}".format(*detail["interval_95"]) if detail["interval_95"] else ""
        rows.append((name, f"{value:.4f}", interval, f"{detail['count']:,}", Markup(escape(MEANINGS.get(name, "")))))
    mistakes = "".join(f"<li>{escape(mistake)}</li>" for mistake in result["mistakes"])
    body = [
        table(("measure", "value", "95 % interval", "of", "what it is"), rows),
        f"<h2>{len(result['mistakes'])} mistakes</h2><ul>{mistakes}</ul>",
    ]
    _write(path, "the demo's scenes", [*body, *origin(result.get("origin"))], overwrite)


def _wrong(results: Mapping[str, Sequence[Answer]], order: Sequence[str]) -> list[tuple[str, Answer]]:
    """At most ``WORST`` wrong answers, one from each category in turn, so that none crowds the others out."""
    queues = {name: [answer for answer in results[name] if not answer.right] for name in order}
    turns = max(map(len, queues.values()), default=0)
    return [(name, queues[name][turn]) for turn in range(turns) for name in order if turn < len(queues[name])][:WORST]


def _mistake(category: str, answer: Answer, picture: Path | None) -> str:
    caption = (
        f"{escape(category)}: {escape(answer.question)} <span class='answer'>{escape(answer.text)}</span>, "
        f"right is <span class='true'>{escape(answer.truth)}</span> <span class='note'>{escape(answer.image)}</span>"
    )
    return figure(_inline(picture, ()), caption)


def _case(case: Case, images: Path | None) -> str:
    drawn = [(case.target.bbox, _TRUTH), *((box, _ANSWER) for box in case.boxes)]
    picture = _inline(path_in_list(images, case.target.img_path) if images is not None else None, drawn)
    caption = (
        f"“{escape(case.target.expression)}”: IoU {case.iou:.2f} <span class='answer'>{escape(case.text)}</span> "
        f"<span class='note'>{escape(str(case.target.sent_id))}, {escape(case.target.img_path)}</span>"
    )
    return figure(picture, caption)


def _inline(path: Path | None, boxes: Iterable[tuple[Box, str]]) -> str:
    """The picture with its boxes; the reason in words if it cannot be opened."""
    try:
        return embedded(load_image(path), boxes) if path is not None else ""
    except InputError as error:
        return note(str(error))


def _histogram(counts: Sequence[int]) -> str:
    largest = max(1, *counts)
    rows = [
        (
            f"{index / len(counts):.1f} to {(index + 1) / len(counts):.1f}",
            f"{count:,}",
            Markup(f"<span class='bar' style='width: {20 * count / largest:.2f}rem'></span>"),
        )
        for index, count in enumerate(counts)
    ]
    return table(("IoU", "answers", ""), rows)


def _groups(groups: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            name,
            f"{group['count']:,}",
            f"{group['precision_at_0.5']:.4f}",
            "{:.4f} to {:.4f}".format(*group["interval_95"]),
            f"{group['mean_iou']:.4f}",
        )
        for name, group in groups.items()
    ]
    return table(("group", "answers", "precision", "95 % Wilson interval", "mean IoU"), rows)


def _write(path: Path, title: str, body: Iterable[str], overwrite: bool) -> None:
    make_folder(path.parent)
    write_bytes(path, page(f"IAA on {title}", body), overwrite=overwrite)
