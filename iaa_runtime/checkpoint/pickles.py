"""What a pickle of tensors may say: torch's restricted reader runs no code of it, but it can be made to work for ever.

A table of tensors needs few of the operations that the reader knows. With the others, a kilobyte describes a tuple of
tuples whose hash takes longer than the universe lasts, keys that all collide, or a byte array that fills the memory.
So the operations are followed here beforehand, by the kinds of what they make, and nothing is made.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

LONGEST = 4 << 20
"""Bytes of a pickle, a few seconds; a shard of 500 tensors has 60 kB."""

_PICKLES = 5
"""In a file that was written before torch 1.6: a number, a version, sizes of C's types, the tensors, their storages."""

_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v[23])?|parameter)"
    r"|torch \w*Storage|torch\.storage (Unt|T)ypedStorage|torch (u?int|b?float|bool|complex)\w*"
)
_TABLE_MAKER = "collections OrderedDict"
_TEXT, _NUMBER, _TENSOR, _STORAGE, _TABLE, _LIST, _MARK = "text", "number", "tensor", "storage", "table", "list", "mark"
_MAKES: Mapping[str, Any] = {
    **dict.fromkeys(("BINUNICODE", "SHORT_BINSTRING"), _TEXT),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "NEWTRUE", "NEWFALSE", "NONE"), _NUMBER),
    **{"EMPTY_DICT": _TABLE, "EMPTY_LIST": _LIST, "EMPTY_TUPLE": (), "MARK": _MARK},
}
_TAKES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "REDUCE": 2, "BINPERSID": 1, "SETITEM": 2, "BUILD": 1, "APPEND": 1}
_TAKES_TO_MARK = ("TUPLE", "SETITEMS", "APPENDS")


def is_tame(file: Path) -> bool:
    """Whether the pickles of a ``.bin`` file hold what a table of tensors needs, and are of a sane length.

    It takes time in proportion to them. A file that is compressed is not: what it unpacks to is limited by nothing.
    """
    try:
        if not is_zip(file):
            with file.open("rb") as opened:
                pickles = io.BytesIO(opened.read(LONGEST))
            return all(_follows_rules(pickles) for _ in range(_PICKLES))
        with zipfile.ZipFile(file) as content:
            for part in content.infolist():
                pickled = part.filename.endswith(".pkl") and part.file_size > LONGEST
                if part.compress_type != zipfile.ZIP_STORED or pickled:
                    return False
        # Read by torch's own reader, which may find another part of this name than zipfile would.
        return _follows_rules(io.BytesIO(torch._C.PyTorchFileReader(str(file)).get_record("data.pkl")))
    except (zipfile.BadZipFile, RuntimeError):  # a broken zip, for either reader
        return False
    except (ValueError, IndexError, KeyError):  # a broken pickle: no operation, nothing on the stack or in the memo
        return False


def is_zip(file: Path) -> bool:
    """Whether a file is of torch's format since 1.6, told as torch does."""
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\x03\x04"


def _follows_rules(pickled: io.BytesIO) -> bool:
    """Whether one pickle does: keys are texts, and tables and tuples come once, so that what it describes is a tree."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for operation, argument, _ in pickletools.genops(pickled):
        name = operation.name
        if name in _MAKES:
            stack.append(_MAKES[name])
        elif name == "GLOBAL" and _GLOBALS.fullmatch(str(argument)):
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
            if isinstance(stack[-1], tuple) or stack[-1] in (_TABLE, _LIST):
                return False
        elif name in _TAKES or name in _TAKES_TO_MARK:
            if not _act(name, stack, list(_taken(name, stack))[::-1]):
                return False
        elif name not in ("PROTO", "STOP"):
            return False
    return True


def _taken(name: str, stack: list[Any]) -> Iterator[Any]:
    """What an operation takes from the stack, the last first."""
    if name in _TAKES:
        yield from (stack.pop() for _ in range(_TAKES[name]))
    else:
        yield from iter(stack.pop, _MARK)


def _act(name: str, stack: list[Any], taken: list[Any]) -> bool:
    """Leaves on the stack what an operation makes of what it took; False where it is none that tensors need."""
    if name.startswith("TUPLE"):
        stack.append(tuple(taken))
        return True
    if name == "REDUCE":
        maker, arguments = taken
        stack.append(_TABLE if maker == _TABLE_MAKER else _TENSOR)
        if maker == _TABLE_MAKER:
            return bool(arguments == ())
        return isinstance(maker, str) and maker.startswith("torch._utils ")
    if name == "BINPERSID":
        stack.append(_STORAGE)
        return isinstance(taken[0], tuple) and not any(isinstance(part, tuple) for part in taken[0])
    if name.startswith("SETITEM"):
        return stack[-1] == _TABLE and all(key == _TEXT for key in taken[::2])
    if name == "BUILD":
        return bool(stack[-1] == taken[0] == _TABLE)
    return bool(stack[-1] == _LIST)
