"""Where a result comes from: a record beside it, which scores and pages repeat."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import __version__
from ..config.small_files import read_small
from ..errors import CheckpointError, InputError
from .files import check_output, make_folder, write_bytes

SUFFIX = ".about.json"
"""Behind a result's name: the record of its origin."""


def describe(identity: Mapping[str, str], device: str, settings: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The record of a run that ends now.

    Args:
        identity: of the pipeline: the model's fingerprint, dtype and precision.
        device: where it computed.
        settings: everything else that decides the answers.
        count: answers.
    """
    from importlib.metadata import version

    return {
        "iaa": __version__,
        **identity,
        "device": device,
        "settings": dict(settings),
        "count": count,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "system": platform.platform(),
    }


def origin_file(result: Path) -> Path:
    """Where the record of a result lies.

    Raises:
        InputError: the result is a disk's root, which has no name.
    """
    if result.name in ("", ".."):
        result = Path(os.path.abspath(result))
    if not result.name:
        raise InputError(f"{result} is a disk's root, beside which nothing goes. Choose a folder in it.")
    return result.with_name(f"{result.name}{SUFFIX}")


def check_origin(result: Path) -> None:
    """Raises :class:`InputError` unless the record may be written: nothing is there, or the record of another run."""
    file = origin_file(result)
    check_output(file, overwrite=True)
    if file.exists() and read_origin(result) is None:
        raise InputError(f"{file} is there already and no record of a run. Choose another name for the result.")


def write_origin(result: Path, record: Mapping[str, Any], *, renew: bool = True) -> None:
    """Writes the record beside its result, over that of an earlier run.

    Args:
        result: what the record is of.
        record: of the run that ends.
        renew: without it, an earlier record that differs in nothing but its date stays, and so does what repeats it.
    """
    known = read_origin(result)
    if known is not None and not renew and known | {"date": None} == json.loads(json.dumps({**record, "date": None})):
        return
    make_folder(result.parent)
    content = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    write_bytes(origin_file(result), content.encode(), overwrite=True)


def read_origin(result: Path) -> dict[str, Any] | None:
    """The record beside a result; None where there is none."""
    try:
        record = json.loads(read_small(origin_file(result)))
    except (CheckpointError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and "iaa" in record else None
