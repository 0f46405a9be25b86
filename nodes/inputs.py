"""What may come in at a node's inputs: one check, driven by the node's schema, in front of every ``execute``.

ComfyUI checks what is typed into widgets. It checks nothing of what other nodes make while a graph runs, nor of JSON
that an API graph hands to a socket as ``{"__value__": …}``.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import as_boxes
from ..iaa_runtime.boxes.crops import Regions
from ..iaa_runtime.errors import IAAError, InputError, spelled
from ..iaa_runtime.text.printable import printable
from .host import check_interrupt
from .lists import at_once, joined, runs
from .words import add_words

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What images and masks come in; torch computes hardly anything in the 8-bit ones."""
_HALF = re.compile("[\ud800-\udfff]")
"""Of a surrogate pair, as JSON can spell it; no file, tokenizer or terminal takes it."""


class Node(io.ComfyNode):
    """Base of our nodes.

    A subclass defines its schema without words, which come from ``locales/en``, and ``execute``, which gets only inputs
    that fit the schema; others end in an :class:`InputError`.

    Attributes:
        paired: the input for texts that are paired with the images (see :mod:`.lists`), if any; ``image`` where there
            are none, and what several runs give is put together all the same. Such a node's schema takes and gives
            lists; its ``execute`` gets one batch, with one text or one an image, and gives lists.
        along: of such a node, inputs of which its ``execute`` gets lists, of one a batch, since it takes all batches
            at once for which the other inputs are the same. (A default is that of one batch.)
    """

    paired = ""
    along: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        schema, execute = cls.__dict__["define_schema"].__func__, cls.__dict__["execute"].__func__
        if not hasattr(execute, "__wrapped__"):  # ComfyUI clones a class for each run
            cls.define_schema = classmethod(functools.wraps(schema)(lambda cls: add_words(schema(cls))))  # type: ignore[method-assign, assignment]
            cls.execute = classmethod(_checking(execute))  # type: ignore[attr-defined]

    @classmethod
    def look_ahead(cls, given: Sequence[Mapping[str, Any]]) -> None:
        """Raises :class:`InputError` for what no run can do, before the first of several."""

    @classmethod
    def upgrade(cls, inputs: dict[str, Any]) -> dict[str, Any]:
        """Inputs as workflows of an earlier version give them -> as this one takes them."""
        return inputs


def _checking(execute: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(execute)

    @functools.wraps(execute)
    def checked(cls: type[Node], *args: Any, **inputs: Any) -> Any:
        schema = cls.define_schema()
        try:
            check_names(schema, inputs)
            given = cls.upgrade(dict(signature.bind(cls, *args, **inputs).arguments))
            check_choices(schema, cls.hidden)
            if cls.paired:
                several = runs(given, cls.paired)
                cls.look_ahead(several)
                for inputs in several:
                    check_inputs(schema, inputs, cls.paired)
                if cls.along:
                    several = at_once(several, {name: signature.parameters[name].default for name in cls.along})
                return joined([execute(**inputs) for inputs in several])
            check_inputs(schema, given)
            return execute(**given)
        except IAAError as error:  # ComfyUI writes it to its terminal
            error.args = (printable(str(error)),)
            raise

    return checked


def check_names(schema: io.Schema, given: Mapping[str, Any]) -> None:
    """Raises :class:`InputError` for an input that the schema does not have: ComfyUI hands over whatever is linked."""
    names = [declared.id for declared in schema.inputs]
    for name in given:
        if name not in names:
            raise InputError(
                f"{spelled(name)} is no input of {schema.display_name}. Take the link away, or connect it to one of: "
                f"{', '.join(names)}."
            )


def check_choices(schema: io.Schema, hidden: Any) -> None:
    """Raises :class:`InputError` where the graph sets a group to none of its choices: ComfyUI then leaves it out.

    Args:
        schema: the node's.
        hidden: what ComfyUI tells the node: the graph (output nodes get it), and its own id there.
    """
    graph = (hidden.prompt if hidden is not None else None) or {}
    inputs = graph.get(hidden.unique_id, {}).get("inputs", {}) if graph else {}
    for declared in schema.inputs:
        if isinstance(declared, io.DynamicCombo.Input) and declared.id in inputs:
            _fail(declared.id, _group(declared, {declared.id: inputs[declared.id]}, declared.id))


def check_inputs(schema: io.Schema, given: Mapping[str, Any], paired: str = "") -> None:
    """Raises :class:`InputError` for the first input that is not what the schema says; names it and what to do.

    Args:
        schema: the node's.
        given: values by input.
        paired: of a node that takes lists, the one input that may still be one; all where empty.
    """
    for declared in schema.inputs:
        if declared.id not in given or declared.rawLink:  # which is for the node that the link is handed on to
            continue
        value = given[declared.id]
        # Nodes that take whole lists get each input as a list of values; a default comes without one.
        may_be_list = schema.is_input_list and paired in ("", declared.id)
        listed = may_be_list and isinstance(value, (list, tuple))
        if listed and not value and not declared.lazy:
            raise InputError(f"{declared.id!r} is an empty list. Connect what makes at least one.")
        for single in value if listed else [value]:
            check_input(declared, single)


def check_input(declared: io.Input, value: Any, name: str = "") -> None:
    """Raises :class:`InputError` where ``value`` is not what the input ``declared`` takes.

    Args:
        declared: the schema's input.
        value: what came.
        name: of the input in messages; its id where empty.
    """
    name = name or declared.id
    is_widget = isinstance(declared, (io.WidgetInput, io.DynamicCombo.Input))
    if value is None and (declared.lazy or declared.optional) and not is_widget:
        return
    check = _CHECKS.get(declared.get_io_type())
    if check is not None:
        _fail(name, check(declared, value, name))


@contextmanager
def together(*names: str) -> Iterator[None]:
    """Errors in here begin with the names of inputs that do not go together."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{' and '.join(map(repr, names))} do not go together. {error}") from None


def _fail(name: str, problem: str) -> None:
    if problem:
        raise InputError(f"{name!r} {problem}")


def _image(declared: io.Input, value: Any, name: str) -> str:
    wanted = "must be an IMAGE, a tensor of (images, height, width, channels): connect an output for images."
    if not _holds_floats(value):
        return f"{wanted} A {_kind(value)} came."
    if value.ndim != 4 or not 1 <= value.shape[3] <= 4:
        return f"{wanted} A tensor of shape {list(value.shape)} came."
    return _content(value, "images")


def _mask(declared: io.Input, value: Any, name: str) -> str:
    wanted = "must be a MASK, a tensor of (masks, height, width): connect an output for masks."
    if not _holds_floats(value):
        return f"{wanted} A {_kind(value)} came."
    if value.ndim not in (2, 3):
        return f"{wanted} A tensor of shape {list(value.shape)} came."
    return _content(value, "masks")


def _holds_floats(value: Any) -> bool:
    """Whether it is an ordinary tensor of numbers that can be read."""
    return (
        isinstance(value, torch.Tensor)
        and value.dtype in _FLOATS
        and value.layout == torch.strided
        and not (value.is_meta or value.is_nested)
    )


def _content(value: torch.Tensor, what: str) -> str:
    if value.numel() == 0:
        return f"is empty: a tensor of shape {list(value.shape)} came. Connect at least one of the {what}."
    low, high = torch.aminmax(value)  # one pass, and NaN wins
    if not math.isfinite(float(low) + float(high)):
        return f"holds numbers that are not finite (NaN or infinity). The node that made these {what} went wrong."
    return ""


def _number(declared: Any, value: Any, name: str) -> str:
    whole = declared.io_type == "INT"
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return f"must be a {'whole number' if whole else 'number'}. A {_kind(value)} came."
    if not declared.min <= value <= declared.max:
        return f"must be from {declared.min} to {declared.max}. {_short(value)} came."
    return ""


def _boolean(declared: io.Input, value: Any, name: str) -> str:
    return "" if isinstance(value, bool) else f"must be true or false. A {_kind(value)} came."


def _string(declared: io.Input, value: Any, name: str) -> str:
    if not isinstance(value, str):
        return f"must be text. A {_kind(value)} came."
    half = _HALF.search(value)
    return f"holds {half[0]!r}, which is no character but half of one. Type it anew." if half else ""


def _combo(declared: Any, value: Any, name: str) -> str:
    if isinstance(value, str) and value in declared.options:
        return ""
    if not declared.options:
        return f"is {_short(value)}, and there is none to choose from."
    return f"is {_short(value)}. Choose one of: {', '.join(declared.options)}."


def _group(declared: Any, value: Any, name: str) -> str:
    """A group of inputs that unfolds from a choice: ``{name: choice, …}``."""
    choices = {option.key: option.inputs for option in declared.options}
    choice = value.get(declared.id) if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping) or not isinstance(choice, str) or choice not in choices:
        written = " or ".join(f'"{name}": "{choice}"' for choice in choices)
        nested = next(input.id for inputs in choices.values() for input in inputs)
        return (
            f"is {_short(choice)}. In an API graph, write {written}, and beside the latter for instance "
            f'"{name}.{nested}": ….'
        )
    for nested in choices[choice]:
        if value.get(nested.id) is not None:  # ComfyUI names those that the graph leaves out, too
            check_input(nested, value[nested.id], f"{name}.{nested.id}")
    return ""


def _having(attribute: str, what: str) -> Callable[[io.Input, Any, str], str]:
    """A check of our own sockets, whose values only our nodes make."""
    return lambda declared, value, name: "" if hasattr(value, attribute) else f"must be {what}. A {_kind(value)} came."


def _regions(declared: io.Input, value: Any, name: str) -> str:
    ours = isinstance(value, list) and all(isinstance(part, Regions) for part in value)
    return "" if ours and value else f"must be regions: connect those of IAA Crop Boxes. A {_kind(value)} came."


def _boxes(declared: io.Input, value: Any, name: str) -> str:
    if value is None and declared.optional:
        return ""
    try:
        as_boxes(value, check_interrupt)
    except InputError as error:
        return f"must be a BOUNDING_BOX: connect an output for boxes. {error}"
    return ""


_CHECKS: dict[str, Callable[[Any, Any, str], str]] = {
    "IMAGE": _image,
    "MASK": _mask,
    "INT": _number,
    "FLOAT": _number,
    "BOOLEAN": _boolean,
    "STRING": _string,
    "COMBO": _combo,
    io.DynamicCombo.io_type: _group,
    "IAA_MODEL": _having("in_use", "a model: connect IAA Loader or IAA Remote Loader"),
    "IAA_CHAT": _having("messages", "a conversation: connect the history of an IAA Chat"),
    "IAA_REGIONS": _regions,
    "IAA_TAKEN_CROPS": _having("func", "what IAA Paste Crops hands over: use that node"),
    "BOUNDING_BOX": _boxes,
}
"""By socket type. What IAA Convert Boxes takes is not here: :mod:`iaa_runtime.boxes.convert` reads and checks it."""


def _kind(value: object) -> str:
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_meta or value.is_nested:
            return "tensor whose numbers cannot be read (sparse, nested or without any)"
        return f"tensor of {str(value.dtype).removeprefix('torch.')}"
    return {"NoneType": "null", "dict": "dict", "str": "text"}.get(type(value).__name__, type(value).__name__)


def _short(value: object) -> str:
    return spelled(value) if isinstance(value, (str, bool, Real, type(None))) else f"a {_kind(value)}"
