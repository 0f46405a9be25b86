"""What a server says that is no answer, fit to be shown to whoever asked.

The author of a workflow chooses the address, and is not to read what lies behind it: of a page, a banner or other JSON
not a word is shown. The API's own error object is meant to be read.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ...text.printable import printable
from .keys import without_key


def one_line(text: str, limit: int = 300) -> str:
    """A server's words for a message: on one line, without the key, printable, cut to ``limit`` characters."""
    words = printable(" ".join(without_key(text).split()))
    return words if len(words) <= limit else words[:limit] + " …"


def error_message(content: Any) -> str:
    """The message of OpenAI's error object, ``{"error": {"message": …}}``, or of vLLM's older one, as :func:`one_line`.

    Args:
        content: JSON that came.

    Returns:
        Empty if it is anything else.
    """
    message = _error_object(content).get("message")
    return one_line(message) if isinstance(message, str) else ""


def error_status(content: Any) -> int | None:
    """The status of HTTP, 400 to 599, that the same object names as its ``code``; None if it names none."""
    code = str(_error_object(content).get("code"))
    return int(code) if re.fullmatch("[45][0-9][0-9]", code) else None


def _error_object(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        return {}
    error = content if content.get("object") == "error" else content.get("error")
    return error if isinstance(error, dict) else {}


def refusal_message(body: bytes) -> str:
    """:func:`error_message` of the body of an answer that refuses."""
    try:
        return error_message(json.loads(body))
    except (ValueError, RecursionError):
        return ""
