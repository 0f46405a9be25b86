"""When a request is sent once more, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import TypeVar

from ...errors import ContextLengthError, RemoteError
from .transport import Dropped, Lifeline, Refused

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that another try may mend: busy, starting, restarting, or a gateway before one that is."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Retries:
    """How patient one is with a server.

    Attributes:
        tries: of one request, the first included.
        first: seconds before the second try; doubled from try to try, and drawn between half of that and all of it, so
            that many clients do not come back together.
        longest: seconds that a pause of ours may take.
        asked: seconds that a server's Retry-After may ask for; one that asks for more is not waited for.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 30.0
    asked: float = 300.0

    def pause(self, tried: int, retry_after: str = "") -> float | None:
        """Seconds to wait after ``tried`` tries, or None to give up."""
        if tried >= self.tries:
            return None
        wanted = _seconds(retry_after)
        if wanted is not None:
            return wanted if wanted <= self.asked else None
        return random.uniform(0.5, 1) * min(self.longest, self.first * 2.0 ** (tried - 1))


def _seconds(retry_after: str) -> float | None:
    """A Retry-After header, which is a number of seconds or a date (RFC 9110, section 10.2.3)."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (TypeError, ValueError):
        return None


def persistently(send: Callable[[], Result], url: str, retries: Retries, lifeline: Lifeline) -> Result:
    """Calls ``send`` until it succeeds, waiting in between.

    Args:
        send: raises :class:`Dropped` or :class:`Refused` where it fails.
        url: of the server, for messages.
        retries: how often.
        lifeline: ends the waiting.

    Raises:
        RemoteError: it failed for good; says how, and what to do.
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
            if failure.status not in PASSING:
                raise _refusal(url, failure) from None
            pause, reason = retries.pause(tried, failure.retry_after), f"status {failure.status}: {shown(failure.body)}"
        if pause is None:
            times = "once" if tried == 1 else f"{tried} times"
            raise RemoteError(
                f"The server {url} gave no answer, asked {times}. The last failure: {reason}. Is it up, and is the "
                "address right? Run again when it is."
            )
        lifeline.sleep(pause)


def _refusal(url: str, failure: Refused) -> Exception:
    said = shown(failure.body)
    if failure.status == 400 and "context length" in failure.body:
        return ContextLengthError(f"The server {url} finds this too long: {said} Shorten it.")
    hint = {
        401: "Put the server's key into the environment as IAA_API_KEY, and its host into IAA_API_HOSTS.",
        403: "Does the key in IAA_API_KEY belong to this server, and is its host in IAA_API_HOSTS?",
        404: "Does the address end where the server's /v1 begins, and is the model still served?",
    }.get(failure.status, "Its log may say more.")
    return RemoteError(f"The server {url} refused (status {failure.status}): {said} {hint}")


def shown(text: str, limit: int = 300) -> str:
    """What a server said, short and on one line."""
    words = " ".join(text.split())
    return (words if len(words) <= limit else words[:limit] + " …") or "(nothing)"
