"""The small JSON files of a checkpoint, such as config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError


def load_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: there is no such file, or it holds no JSON object.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"There is no {path.name} in {path.parent}. An IAA checkpoint is a folder with config.json, tokenizer.json "
            "and the weights; give the folder that holds them."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}). Fetch the file again.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object. Fetch the file again.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes an object for people to read too."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
