"""Retries a request to a server: when, after which pause, and how often."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import TypeVar

from ...errors import ContextLengthError, NoAnswerError, RefusedError, RemoteError
from .keys import HOSTS_VARIABLE, KEY_VARIABLE
from .said import one_line
from .transport import CancelToken, Dropped, Refused

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses worth another try: the server is busy or starting, or a gateway cannot reach it."""

_TOO_LONG = ("context length", "maximum model length", "context size")
"""In what servers say of a prompt that is too long: vLLM and llama-cpp-python; vLLM's engine; llama.cpp's own."""

_OF_CONTENT = frozenset({400, 413, 422})
"""Statuses by which a server refuses what stands in a request: in another one, something else does."""
_NO_MODEL = re.compile(r"no such model|\bmodel\b.*\bnot (found|exist|loaded)", re.IGNORECASE)
"""What servers say behind such a status, too, of a model that they do not serve: llama.cpp's, which has several."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Retries:
    """How often and after which pauses to try a request again.

    Attributes:
        tries: of one request, the first included.
        first: seconds before the second try; doubled from try to try. A random factor of 0.5 to 1 spreads many clients.
        longest: limit of such a pause, in seconds.
        longest_asked: limit of a pause that the server asks for by Retry-After, in seconds; above it we give up.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 30.0
    longest_asked: float = 300.0

    def pause(self, tried: int, retry_after: str = "") -> float | None:
        """Seconds to wait after ``tried`` tries, or None to give up."""
        if tried >= self.tries:
            return None
        asked = _seconds(retry_after)
        if asked is not None:
            return asked if asked <= self.longest_asked else None
        return random.uniform(0.5, 1) * min(self.longest, self.first * 2.0 ** (tried - 1))


def _seconds(retry_after: str) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date (RFC 9110, section 10.2.3); None if neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (TypeError, ValueError, OverflowError):
        return None


def with_retries(send: Callable[[], Result], url: str, retries: Retries, cancel_token: CancelToken) -> Result:
    """Calls ``send`` until it succeeds, with pauses in between.

    Args:
        send: raises :class:`Dropped` or :class:`Refused` if it fails.
        url: of the server, for messages.
        retries: how often, and after which pauses.
        cancel_token: ends a pause.

    Raises:
        RemoteError: another try is pointless; a :class:`RefusedError` where that is because of what the request says.
        NoAnswerError: the last try failed.
        ContextLengthError: the server says that the prompt is too long.
    """
    tried = 0
    while True:
        tried += 1
        try:
            return send()
        except Dropped as failure:
            pause, reason = retries.pause(tried), str(failure)
        except Refused as failure:
            if failure.status not in RETRIED:
                raise _refusal(url, failure) from None
            pause = retries.pause(tried, failure.retry_after)
            reason = str(failure)
        if pause is None:
            times = "once" if tried == 1 else f"{tried} times"
            reason = one_line(reason)
            raise NoAnswerError(
                f"The server {url} gave no answer, asked {times}. The last failure: {reason}. Is it up, and is the "
                "address right? Run again when it is.",
                f"The server {url} gave no answer, asked {times}, though it answers others. The last failure: "
                f"{reason}. Its log may say more.",
            )
        cancel_token.sleep(pause)


def is_too_long(message: str) -> bool:
    """Whether a server says so of a prompt."""
    return any(words in message for words in _TOO_LONG)


_MOVED = (301, 302, 303, 307, 308)


def _refusal(url: str, failure: Refused) -> Exception:
    if failure.status == 400 and is_too_long(failure.message):
        return ContextLengthError(
            f"The server {url} finds this too long: {failure.message.rstrip('.')}. Shorten it, ask for fewer new "
            "tokens (--max-new-tokens), or start the server with a larger context (vLLM: --max-model-len, llama.cpp: "
            "--ctx-size or --n_ctx), of which a picture takes the same part whatever its size."
        )
    rule = f"{HOSTS_VARIABLE} as HOST:PORT? Over plain http it goes to this machine only: use https."
    hint = {
        401: f"Is the server's key in the environment as {KEY_VARIABLE}, and the server in {rule}",
        403: f"Does the key in {KEY_VARIABLE} belong to this server, and is the server in {rule}",
        404: "Does the address end where the server's /v1 begins, and is the model still served?",
        **dict.fromkeys(_MOVED, "It sends elsewhere, where nothing is sent after it: give the last address itself."),
    }.get(failure.status, "Its log may say more.")
    of_content = failure.status in _OF_CONTENT and not _NO_MODEL.search(failure.message)
    return (RefusedError if of_content else RemoteError)(f"The server {url} refused ({failure}). {hint}")
