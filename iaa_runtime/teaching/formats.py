"""Reads examples from files: COCO JSON, RefCOCO lines, lines of ``iaa annotate`` and ``iaa ground``, LLaVA's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..boxes.geometry import Box
from ..config import Task
from ..errors import InputError, spelled
from ..evaluation.refcoco import id_of, new_id, read_annotations
from ..images.names import path_in_list
from ..jobs.files import check_text, numbered_jsonl, read_text
from ..text.prompts import CAPTION_PROMPTS
from .examples import Example

FORMATS = (
    "COCO JSON (instances or captions), RefCOCO lines (sent_id, expression, img_path, bbox, width, height), lines of "
    "iaa annotate or iaa ground (image, detections or caption), or LLaVA JSON or lines (image, conversations)"
)
_MARK = "<image>"
_LARGEST = 10**9
"""Of the numbers of a box, in pixels."""
Row = Mapping[str, Any]


def read_examples(path: Path, task: Task, images: Path | None = None) -> list[Example]:
    """Reads what is asked of ``task``; pictures are not opened yet.

    Args:
        path: the file.
        task: G reads boxes, MM captions and answers.
        images: the folder of the pictures; that of the file when None.

    Raises:
        InputError: the file is none of these, a row is malformed, or none is for the task; names the row.
    """
    folder = images if images is not None else path.parent
    rows = _lines(path, folder, task) if path.suffix.lower() in (".jsonl", ".ndjson") else _json(path, folder, task)
    found = list(rows)
    if not found:
        wanted = "boxes" if task is Task.G else "captions or answers"
        raise InputError(f"{path} holds no {wanted}, which task {task.value} learns from. It may be {FORMATS}.")
    return found


def _json(path: Path, folder: Path, task: Task) -> Iterator[Example]:
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not JSON ({error}). Lines of JSON go into a file that ends in .jsonl.") from None
    if isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list):
        return _coco(data, path, folder, task)
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return _llava([(f"{path}, entry {number}", row) for number, row in enumerate(data, 1)], path, folder, task)
    raise InputError(f"{path} is none of what is read: {FORMATS}.")


# COCO ----------------------------------------------------------------------------------------------------------------


def _coco(data: Row, path: Path, folder: Path, task: Task) -> Iterator[Example]:
    """Boxes by picture and category, whose name is the phrase; a picture without a box of a category lacks it.

    A crowd says that there are more without boxes of their own: nothing is learned of its category there.
    """
    pictures: dict[Any, tuple[Path, tuple[int, int] | None]] = {}
    for number, row in enumerate(data["images"], 1):
        where = f"{path}, image {number}"
        row = _table(row, where)
        pictures[new_id(row, "id", where, pictures)] = (_file(folder, row, "file_name", where), _size(row, where))
    names: dict[Any, str] = {}
    for number, row in enumerate(_list(data, "categories", str(path)), 1):
        where = f"{path}, category {number}"
        row = _table(row, where)
        names[new_id(row, "id", where, names)] = _word(row, "name", where)
    boxes: dict[tuple[Any, Any], list[Box]] = {}
    wheres: dict[tuple[Any, Any], str] = {}
    crowds = set[tuple[Any, Any]]()
    for number, row in enumerate(data["annotations"], 1):
        where = f"{path}, annotation {number}"
        row = _table(row, where)
        image = id_of(row, "image_id", where)
        if image not in pictures:
            raise InputError(f"{where}: there is no image {spelled(image)} in the file. Mend or remove the row.")
        if task is Task.MM:
            if "caption" in row:
                file, size = pictures[image]
                caption = _word(row, "caption", where)
                yield Example(file, CAPTION_PROMPTS["caption"], answer=caption, size=size, where=where)
        elif "bbox" in row or "segmentation" in row:
            category = id_of(row, "category_id", where)
            if category not in names:
                raise InputError(f"{where}: there is no category {spelled(category)}, so no phrase. Name it.")
            if row.get("iscrowd"):
                crowds.add((image, category))
                continue
            box = _xywh(row["bbox"], where) if "bbox" in row else _around(row["segmentation"], where)
            boxes.setdefault((image, category), []).append(box)
            wheres.setdefault((image, category), where)
    used = list(dict.fromkeys(category for _, category in boxes))
    for number, (image, (file, size)) in enumerate(pictures.items(), 1):
        for category in used:
            if (image, category) in crowds:
                continue
            own = tuple(boxes.get((image, category), ()))
            where = wheres.get((image, category), f"{path}, image {number}")
            yield Example(file, names[category], own, size=size, where=where)


# Lines ---------------------------------------------------------------------------------------------------------------


def _lines(path: Path, folder: Path, task: Task) -> Iterator[Example]:
    first = next((row for _, row in numbered_jsonl(path)), {})
    if "expression" in first or "img_path" in first:
        if task is Task.MM:
            raise InputError(f"{path} holds boxes of expressions, from which MM learns nothing. Teach G with it.")
        return _refcoco(path, folder)
    if "conversations" in first:
        return _llava([(f"{path}, line {number}", row) for number, row in numbered_jsonl(path)], path, folder, task)
    return _records(path, folder, task)


def _refcoco(path: Path, folder: Path) -> Iterator[Example]:
    """The published evaluation's rows, one box each; :func:`.examples.checked` puts those of one thing together."""
    for identity, target in read_annotations(path).items():
        where = f"{path}, sent_id {spelled(identity)}"
        file = path_in_list(folder, target.img_path)
        yield Example(file, target.expression, (target.bbox,), size=target.size, where=where)


def _records(path: Path, folder: Path, task: Task) -> Iterator[Example]:
    """Records of ``iaa annotate`` and ``iaa ground --json``; those that tell of an error are left out.

    ``phrases``, a list, says what was looked for, so that a picture without a box of one lacks it; where it is not
    there, all labels of the file count as looked for in that picture.
    """
    rows = [(f"{path}, line {n}", row) for n, row in numbered_jsonl(path) if "error" not in row]
    for where, row in rows:
        if not row.keys() & {"detections", "caption", "answer"}:
            raise InputError(
                f"{where}: it has none of 'detections', 'caption' and 'answer'. Mend or remove the line; what is read "
                f"is {FORMATS}."
            )
    if task is Task.MM:
        for where, row in rows:
            if "caption" in row or "answer" in row:
                prompt = _word(row, "prompt", where) if "prompt" in row else CAPTION_PROMPTS["caption"]
                answer = _word(row, "caption" if "caption" in row else "answer", where)
                yield Example(_file(folder, row, "image", where), prompt, answer=answer, where=where)
        return
    everywhere = dict.fromkeys(
        _word(_table(d, where), "label", where) for where, row in rows for d in _list(row, "detections", where)
    )
    for where, row in rows:
        if "detections" not in row:
            continue
        boxes: dict[str, list[Box]] = {}
        for found in _list(row, "detections", where):
            corners = [found.get(name) for name in ("x", "y", "width", "height")]
            boxes.setdefault(_word(found, "label", where), []).append(_xywh(corners, where))
        size = _size(row, where)
        file = _file(folder, row, "image", where)
        asked = (
            [_word({"phrases": p}, "phrases", where) for p in _list(row, "phrases", where)]
            if "phrases" in row
            else everywhere
        )
        for phrase in dict.fromkeys((*asked, *boxes)):
            yield Example(file, phrase, tuple(boxes.get(phrase, ())), size=size, where=where)


# LLaVA ---------------------------------------------------------------------------------------------------------------


def _llava(rows: Sequence[tuple[str, Row]], path: Path, folder: Path, task: Task) -> Iterator[Example]:
    """Conversations as LLaVA's data sets have them: every answer is learned, after what was said before it."""
    if task is Task.G:
        raise InputError(f"{path} holds conversations, from which MM learns. For G, give boxes: {FORMATS}.")
    for where, row in rows:
        file = _file(folder, row, "image", where)
        said = [_turn(turn, where) for turn in _list(row, "conversations", where)]
        if not said:
            raise InputError(f"{where}: it has no 'conversations'. Give it some, or remove the entry.")
        if [who for who, _ in said] != [("human", "gpt")[n % 2] for n in range(len(said))] or len(said) % 2:
            raise InputError(f"{where}: turns must be of human and gpt in turn, and end with gpt's. Mend the entry.")
        for at, ((_, asked), (_, answer)) in enumerate(pairwise(said)):
            if at % 2 == 0:
                yield Example(file, asked, answer=answer, before=tuple(text for _, text in said[:at]), where=where)


def _turn(turn: Any, where: str) -> tuple[str, str]:
    turn = _table(turn, where)
    return _word(turn, "from", where), _word(turn, "value", where).replace(_MARK, "").strip()


# Fields --------------------------------------------------------------------------------------------------------------


def _table(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{where}: it is {spelled(row)}, not an object in braces.")
    return row


def _word(row: Row, name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {name!r} is {spelled(value)}; it must be a text that says something.")
    check_text(value, where)
    return value


def _file(folder: Path, row: Row, name: str, where: str) -> Path:
    return path_in_list(folder, _word(row, name, where))


def _list(row: Row, name: str, where: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list | None):
        raise InputError(f"{where}: {name!r} is {spelled(value)}; it must be a list.")
    return value or []


def _size(row: Row, where: str) -> tuple[int, int] | None:
    sides = row.get("width"), row.get("height")
    if sides == (None, None):
        return None
    if not all(type(side) is int and 0 < side <= _LARGEST for side in sides):
        raise InputError(f"{where}: 'width' and 'height' are {spelled(sides)}; they must be pixels.")
    return int(sides[0] or 0), int(sides[1] or 0)


def _xywh(value: Any, where: str) -> Box:
    numbers = isinstance(value, list) and len(value) == 4 and all(isinstance(v, (int, float)) for v in value)
    if not numbers or not all(abs(v) <= _LARGEST for v in value):  # neither is NaN
        raise InputError(f"{where}: the box is {spelled(value)}; it must be x, y, width, height in pixels.")
    x, y, width, height = map(float, value)
    return x, y, x + width, y + height


def _around(polygons: Any, where: str) -> Box:
    """The box around COCO's polygons, each a list of x and y in turn."""
    lists = isinstance(polygons, list) and all(isinstance(p, list) and p and len(p) % 2 == 0 for p in polygons)
    if not lists or not polygons or not all(isinstance(v, (int, float)) for polygon in polygons for v in polygon):
        raise InputError(
            f"{where}: it has no 'bbox', and its 'segmentation' is {spelled(polygons)}, not polygons of x and y in "
            "pixels. Give the row a box."
        )
    x, y = ([value for polygon in polygons for value in polygon[start::2]] for start in (0, 1))
    left, top = min(x), min(y)
    return _xywh([left, top, max(x) - left, max(y) - top], where)
