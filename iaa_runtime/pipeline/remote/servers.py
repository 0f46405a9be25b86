"""Which server answers which task, and with which key."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...config import Task
from ...errors import InputError, RemoteError
from .retries import Retries, persistently, shown
from .transport import Lifeline, Timeouts, get_json

KEY, HOSTS = "IAA_API_KEY", "IAA_API_HOSTS"
"""Environment variables: the key, and the hosts (separated by commas) that it may be sent to.

An address may come from somebody else's workflow, so a key goes to no host but those that the user has named.
"""

_ENDING = re.compile(r"(?:^|[^a-z0-9])(mm|g|text)$")
_TRIES, _TIMEOUTS = Retries(tries=3), Timeouts(connect=10, silence=10)
"""A mistyped address should be noticed soon."""


@dataclass(frozen=True)
class Served:
    """A task on a server.

    Attributes:
        url: where the API begins, such as ``http://127.0.0.1:8000/v1``.
        model: the name that the task has there.
        context: tokens that a prompt and its answer may take together; 0 where the server does not say.
    """

    url: str
    model: str
    context: int = 0

    @property
    def key(self) -> str | None:
        """The key for this server, if the environment has one."""
        return key_for(self.url)


def key_for(url: str) -> str | None:
    """``IAA_API_KEY``, if ``IAA_API_HOSTS`` names the URL's host."""
    hosts = [host.strip().lower() for host in os.environ.get(HOSTS, "").split(",")]
    return os.environ.get(KEY) or None if urlsplit(url).hostname in hosts else None


def parse_server(text: str) -> tuple[Task | None, str]:
    """Reads ``URL`` or ``TASK=URL``.

    Returns:
        The task, if it is said, and the URL at which the API begins: ``/v1`` where no path is given.

    Raises:
        InputError: it is no address, or holds a name and password.
    """
    name, equals, rest = text.strip().partition("=")
    named = bool(equals) and name.strip().lower() in {task.value.lower() for task in Task}
    url = (rest if named else text).strip().rstrip("/")
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise InputError(
            f"{text!r} is no address of a server. Write http://HOST:PORT, or G=http://HOST:PORT to say which task it "
            "is for (MM, G or Text)."
        )
    if parts.username or parts.password:
        raise InputError(f"Keys do not belong into an address. Put it into the environment as {KEY}.")
    return (Task.parse(name.strip()) if named else None), url if parts.path else f"{url}/v1"


def find_tasks(servers: Sequence[str], lifeline: Lifeline) -> dict[Task, Served]:
    """Asks servers what they serve.

    Args:
        servers: each ``URL``, or ``TASK=URL``. Without the task, it is read from the names of the models there: they
            end in ``mm``, ``g`` or ``text``, as in ``iaa-g``. With it, the server's only model is meant, or the one
            whose name ends like that.
        lifeline: ends it early.

    Raises:
        RemoteError: a server does not answer, or serves nothing of ours.
        InputError: no server is given, or two are for the same task.
    """
    found: dict[Task, Served] = {}
    for task, url in map(parse_server, servers):
        models = persistently(lambda url=url: _models(url, lifeline), url, _TRIES, lifeline)  # type: ignore[misc]
        for chosen, served in _choose(task, models):
            if chosen in found:
                raise InputError(
                    f"Task {chosen.value} is served twice: as {found[chosen].model} at {found[chosen].url}, and as "
                    f"{served.model} at {url}. Name one server for it."
                )
            found[chosen] = served
    if not found:
        raise InputError("There is no server to ask. Give an address, such as http://127.0.0.1:8000.")
    return found


def _models(url: str, lifeline: Lifeline) -> list[Served]:
    try:
        answer: Any = get_json(f"{url}/models", key_for(url), _TIMEOUTS, lifeline)
        models = [Served(url, str(m["id"]), int(m.get("max_model_len") or 0)) for m in answer["data"]]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise RemoteError(
            f"{url}/models gives no list of models ({shown(str(error))}). Is an OpenAI-compatible server there?"
        ) from None
    if not models:
        raise RemoteError(f"The server {url} serves no model. Is it still starting?")
    return models


def _choose(task: Task | None, models: list[Served]) -> list[tuple[Task, Served]]:
    named = [(Task.parse(match[1]), m) for m in models if (match := _ENDING.search(m.model.lower().rstrip("/")))]
    if task is None:
        chosen = named
    else:
        chosen = [(task, models[0])] if len(models) == 1 else [pair for pair in named if pair[0] is task]
    if not chosen:
        names = ", ".join(m.model for m in models)
        raise RemoteError(
            f"None of the models at {models[0].url} ({names}) tells by the end of its name that it is for "
            f"{task.value if task else 'MM, G or Text'}. Serve it as iaa-mm, iaa-g or iaa-text (vLLM: "
            "--served-model-name), or say what it is for: G=http://…"
        )
    return chosen
