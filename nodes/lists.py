"""Lists at a node's inputs: texts of as many as there are images go to one image each; the rest is ComfyUI's rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, groupby, islice
from typing import Any, TypeVar

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..iaa_runtime.errors import InputError
from ..iaa_runtime.text.prompts import filled

T = TypeVar("T")
INDEX = "{index}"
"""Stands in a text for the number of the image that it is about."""


def first_of(value: Any) -> Any:
    """A widget's value: nodes that take lists get it in one, but its default without."""
    return value[0] if isinstance(value, (list, tuple)) else value


def runs(inputs: Mapping[str, Any], texts: str) -> list[dict[str, Any]]:
    """The inputs of a node that takes lists -> those of one run after the other, each over one batch of images.

    As with other nodes, the n-th run has the n-th of every list, or the last of a shorter one. But texts of as many as
    there are images in all batches go to one image each: then a run has a list of them, one an image of its batch. So
    do texts that say ``{index}``, which is replaced by the image's number, from 1.

    Args:
        inputs: as ComfyUI gives them: lists, and defaults without one; a group of inputs is a dict of such.
        texts: the input that is paired with ``image``.

    Raises:
        InputError: a list is empty; or there are several texts and several images, but not one text an image or batch.
    """
    batches, said = listed(inputs.get("image")), listed(inputs.get(texts, ""))
    sizes = [len(batch) if isinstance(batch, torch.Tensor) and batch.ndim == 4 else 1 for batch in batches]
    paired = dict(inputs)
    if len(said) == sum(sizes) > len(batches):
        rest = iter(said)
        paired[texts] = [list(islice(rest, size)) for size in sizes]
    elif len(said) not in (1, len(batches)) and sum(sizes) != 1:
        raise InputError(
            f"{texts!r} came as a list of {len(said)} texts for {sum(sizes)} images. Give one text for all images, or "
            "one an image: with other numbers, nobody knows which belongs to which."
        )
    if any(isinstance(text, str) and INDEX in text for text in said):
        paired[texts] = _numbered(listed(paired[texts]), sizes)
    for name, value in paired.items():
        if 0 in _lengths(value):
            raise InputError(f"{name!r} is an empty list. Connect what makes at least one.")
    lengths = [length for value in paired.values() for length in _lengths(value)]
    return [{name: _nth(value, number) for name, value in paired.items()} for number in range(max(lengths, default=1))]


def at_once(several: Sequence[Mapping[str, Any]], along: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Runs that follow one another with the same options -> one run over the batches of all of them.

    So a list of pictures is answered several at a time and moves one bar, like a batch.

    Args:
        several: the inputs of each run.
        along: inputs that go with the batches, and their defaults: of each, a run gets a list of one a batch.
    """

    def options(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in inputs.items() if name not in along}

    groups = [(same, list(group)) for same, group in groupby(several, options)]
    return [
        same | {name: [inputs.get(name, default) for inputs in group] for name, default in along.items()}
        for same, group in groups
    ]


def one_an_image(texts: Sequence[str | list[str]], batches: Sequence[Any]) -> list[str]:
    """The text for each image of all batches; a batch has one for all of its images, or a list of one an image."""
    return [
        text
        for said, batch in zip(texts, batches, strict=True)
        for text in ([said] * len(batch) if isinstance(said, str) else said)
    ]


def of_each_batch(name: str, value: Any, count: int) -> list[Any]:
    """What a node that takes all batches at once was given for each of ``count``; what came alone serves all.

    Args:
        name: the input's.
        value: as ComfyUI gives it: a list, or a default without one.
        count: how many batches of images there are.

    Raises:
        InputError: there are neither one nor ``count``.
    """
    values = listed(value)
    if len(values) not in (1, count):
        raise InputError(
            f"{name!r} came as a list of {len(values)}, but images in {count} {'batch' if count == 1 else 'batches'}. "
            "Connect one for all batches, or one for each."
        )
    return list(values) * count if len(values) == 1 else list(values)


def flat(batches: Iterable[Iterable[T]]) -> list[T]:
    """What there is of each batch, as a list over the images of all; :func:`per_batch` undoes it."""
    return list(chain.from_iterable(batches))


def only(value: Any, name: str) -> Any:
    """The value of an input of which a node that takes whole lists has one for all of them.

    Raises:
        InputError: it is a list of several that differ, or of none.
    """
    values = listed(value)
    if not values:
        raise InputError(f"{name!r} is an empty list. Connect what makes at least one.")
    if any(other != values[0] for other in values):
        raise InputError(
            f"{name!r} came as a list of {len(values)} values that differ, and one run takes one. Connect one; "
            "for several, use a node for each."
        )
    return values[0]


def per_batch(items: Sequence[T], batches: Sequence[Sequence[Any]]) -> list[list[T]]:
    """What there is one of for each image of all batches, batch by batch."""
    rest = iter(items)
    return [list(islice(rest, len(batch))) for batch in batches]


def joined(outputs: Sequence[io.NodeOutput]) -> io.NodeOutput:
    """What several runs gave as one: every output is a list, and what is shown consists of lists.

    What keeps a branch from running, where one run had nothing for it, counts only where no run had anything: the rest
    of its list belongs to other lists without a gap, as labels do to crops. One with a message stays in its place and
    is heard, and others keep theirs.
    """
    values = [
        _without_gaps([item for each in lists for item in each])
        for lists in zip(*(output.result for output in outputs), strict=True)
    ]
    shown: dict[str, list[Any]] = {}
    for output in outputs:
        for name, items in output.ui.items():
            shown.setdefault(name, []).extend(items)
    return io.NodeOutput(*values, ui=shown)


def _without_gaps(items: list[Any]) -> list[Any]:
    return [item for item in items if not isinstance(item, ExecutionBlocker) or item.message is not None] or items[:1]


def _numbered(texts: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    """The texts of every run, one an image, with the image's number in place of ``{index}``."""
    firsts, numbered = list(accumulate(sizes, initial=1)), list[list[Any]]()
    for run in range(max(len(texts), len(sizes))):
        batch = min(run, len(sizes) - 1)
        text = texts[min(run, len(texts) - 1)]
        own = text if isinstance(text, list) else [text] * sizes[batch]
        values = ({"index": number} for number in range(firsts[batch], firsts[batch + 1]))
        numbered.append([filled(t, value) if isinstance(t, str) else t for t, value in zip(own, values, strict=True)])
    return numbered


def listed(value: Any) -> Sequence[Any]:
    """A list as it is, and anything else as a list of one."""
    return value if isinstance(value, (list, tuple)) else [value]


def _lengths(value: Any) -> list[int]:
    if isinstance(value, Mapping):
        return [length for nested in value.values() for length in _lengths(nested)]
    return [len(value)] if isinstance(value, (list, tuple)) else []


def _nth(value: Any, number: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _nth(nested, number) for name, nested in value.items()}
    return value[min(number, len(value) - 1)] if isinstance(value, (list, tuple)) else value
