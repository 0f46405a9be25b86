"""The small JSON files of a checkpoint, such as config.json: the one reader, and the writer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.small_files import load_json

__all__ = ["load_json", "write_json"]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes an object for people to read too; a text that is no valid Unicode, as JSON allows, has it escaped."""
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        text = json.dumps(content, indent=2).encode()
    path.write_bytes(text + b"\n")
