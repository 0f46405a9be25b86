"""Finds out which server serves which task, under which model name, and with which key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...config import Task
from ...errors import InputError, RemoteError
from .keys import KEY_VARIABLE, key_for, without_key
from .llama_cpp import OWNERS
from .retries import Retries, with_retries
from .said import one_line
from .transport import CancelToken, Timeouts, get_json

_SCHEMES = ("http", "https")
_SECRET = re.compile("[@?#]")
"""Begins, or ends, the parts of a URL that a server's address has none of; what stands there may be a key."""
_ENDING = re.compile(r"(?:^|[^a-z0-9])(mm|g|text)(?:-\w+\.gguf)?$")
_OURS = re.compile(r"(?:^|/)iaa-(mm|g|text)(?:-\w+\.gguf)?$")
"""Names of exports as the pages write them; any other may end in such a word for reasons of its own."""
_LONGEST_NAME = 4096
_RETRIES, _TIMEOUTS = Retries(tries=3), Timeouts(connect=10, silence=10, whole=30)
"""Short, so that a mistyped address is noticed soon."""


@dataclass(frozen=True)
class Endpoint:
    """Where a task is served.

    Attributes:
        url: base of the API, such as ``http://127.0.0.1:8000/v1``.
        model: the task's name there.
        context: tokens that a prompt and its answer may take together; 0 if the server does not say.
        llama_cpp: whether it is asked in llama.cpp's way.
    """

    url: str
    model: str
    context: int = 0
    llama_cpp: bool = False

    @property
    def key(self) -> str | None:
        """The key for this server, if the environment holds one."""
        return key_for(self.url)


def parse_server(text: str) -> tuple[Task | None, str]:
    """Parses ``URL`` or ``TASK=URL``.

    Returns:
        The task, if given, and the base URL of the API: with ``/v1`` unless it has a path.

    Raises:
        InputError: it is not a valid address, or contains credentials.
    """
    name, equals, rest = text.strip().partition("=")
    named = bool(equals) and name.strip().lower() in {task.value.lower() for task in Task}
    url = (rest if named else text).strip().rstrip("/")
    if _SECRET.search(url):
        raise InputError(
            "An address is http://HOST:PORT, perhaps with a path. Keys do not belong into it, nor does anything behind "
            f"'?' or '#'. Put a key into the environment as {KEY_VARIABLE}."
        )
    try:
        parts = urlsplit(url)
        fine = parts.scheme in _SCHEMES and bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or not re.fullmatch("[!-~]+", url):
        raise InputError(
            f"{one_line(text, 100)!r} is no address of a server. Write http://HOST:PORT, or G=http://HOST:PORT to say "
            "which task it is for (MM, G or Text)."
        )
    return (Task.parse(name.strip()) if named else None), url if parts.path else f"{url}/v1"


def find_tasks(servers: Sequence[str], cancel_token: CancelToken) -> dict[Task, Endpoint]:
    """Asks servers which tasks they serve.

    Args:
        servers: each ``URL``, or ``TASK=URL``. Without a task, the names of the server's models tell it: they end in
            ``mm``, ``g`` or ``text``, as in ``iaa-g``. With a task, its only model is taken, whatever its name but that
            of an export for another task, or the one whose name ends like that.
        cancel_token: ends it early.

    Raises:
        RemoteError: a server does not answer, or serves nothing of ours.
        InputError: no server is given, or two are for the same task.
    """
    found: dict[Task, Endpoint] = {}
    for task, url in map(parse_server, servers):
        models = with_retries(lambda url=url: _models(url, cancel_token), url, _RETRIES, cancel_token)  # type: ignore[misc]
        for chosen, endpoint in _choose(task, models):
            if chosen in found:
                raise InputError(
                    f"Task {chosen.value} is served twice: as {found[chosen].model} at {found[chosen].url}, and as "
                    f"{endpoint.model} at {url}. Name one server for it."
                )
            found[chosen] = endpoint
    if not found:
        raise InputError("There is no server to ask. Give an address, such as http://127.0.0.1:8000.")
    return found


def _models(url: str, cancel_token: CancelToken) -> list[Endpoint]:
    key = key_for(url)
    try:
        answer: Any = get_json(f"{url}/models", key, _TIMEOUTS, cancel_token)
        models = [Endpoint(url, *_name_and_context(model), model.get("owned_by") in OWNERS) for model in answer["data"]]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise RemoteError(f"{url}/models gives no list of models. Is an OpenAI-compatible server there?") from None
    if not models:
        raise RemoteError(f"The server {url} serves no model. Is it still starting?")
    return models


def _name_and_context(model: dict[str, Any]) -> tuple[str, int]:
    name, context = model["id"], model.get("max_model_len") or 0
    if not isinstance(name, str) or not name.isprintable() or len(name) > _LONGEST_NAME or type(context) is not int:
        raise TypeError
    if without_key(name) != name:  # which messages and jobs would show
        raise TypeError
    return name, max(0, context)


def _choose(task: Task | None, models: list[Endpoint]) -> list[tuple[Task, Endpoint]]:
    named = _named(_ENDING, models)
    if task is None:
        chosen = named
    elif len(models) == 1:
        if (ours := _named(_OURS, models)) and ours[0][0] is not task:
            raise RemoteError(
                f"The model at {models[0].url} is {one_line(models[0].model)}, an export for {ours[0][0].value}, and "
                f"the address says {task.value}. Are two addresses swapped?"
            )
        chosen = [(task, models[0])]
    else:
        chosen = [pair for pair in named if pair[0] is task]
    if not chosen:
        names = one_line(", ".join(m.model for m in models))
        raise RemoteError(
            f"None of the models at {models[0].url} ({names}) tells by the end of its name that it is for "
            f"{task.value if task else 'MM, G or Text'}. Serve it as iaa-mm, iaa-g or iaa-text (vLLM: "
            f"--served-model-name){'' if task else ', or say what it is for: G=http://…'}."
        )
    return chosen


def _named(pattern: re.Pattern[str], models: list[Endpoint]) -> list[tuple[Task, Endpoint]]:
    return [(Task.parse(match[1]), m) for m in models if (match := pattern.search(m.model.lower().rstrip("/")))]
