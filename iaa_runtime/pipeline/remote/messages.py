"""Builds requests for OpenAI's chat completions (with vLLM's extensions) and parses the streamed answers."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ...boxes.grounding import ROUNDING
from ...config import GenerationConfig
from ...errors import InputError, RemoteError
from ...images.picture import Picture
from ...images.preprocess import bounded_square
from ...text.conversation import Conversation
from ..base import TextAnswer
from .retries import is_too_long
from .said import error_message, error_status, one_line
from .transport import Dropped, Nonsense, Refused

LARGEST = 2048
"""Longest side of a sent picture, in pixels: six times the tower's input, so scaling down to it loses nothing."""

_BOXES = r"\[{n},{n},{n},{n}\](; \[{n},{n},{n},{n}\])*".replace("{n}", r"(0(\.[0-9]{1,3})?|1(\.0{1,3})?)")

LONGEST_TOKEN = 128
"""Characters of the longest token that Llama 3 has."""
EVENTS_A_TOKEN = 8
"""Events that a token may take at most: some servers send each character by itself."""
SHORT = 4096
"""Characters of a text that is shown word by word."""

_LOWEST = -sys.float_info.max
_CONTROL = re.compile(r"<\|(?=\w+\|>)")
CONTROL_TOKEN = re.compile(r"<\|\w+\|>")


def boxes_regex(several: bool) -> str:
    """The grammar of boxes as a regular expression, for servers that can force answers to match one."""
    return _BOXES if several else _BOXES.partition("(; ")[0]


def data_url(picture: Picture) -> str:
    """A picture as a PNG in a URL, padded to a square with the mean colour as the model's own preprocessing does."""
    file = io.BytesIO()
    bounded_square(picture, LARGEST).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


class SharedUrls:
    """Makes :func:`data_url` of pictures; one that questions in a row share is encoded once, by the first to ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._picture: Picture | None = None
        self._url: Future[str] = Future()

    def __call__(self, picture: Picture) -> str:
        with self._lock:
            first = picture is not self._picture
            if first:
                self._picture, self._url = picture, Future()
            url = self._url
        if first:
            try:
                url.set_result(data_url(picture))
            except Exception as error:
                url.set_exception(error)
        return url.result()


def chat_messages(conversation: Conversation, image: str | None) -> list[dict[str, Any]]:
    """A conversation as chat messages, with the picture (a URL) before the text of the first user message.

    Whatever looks like a control token is broken up: servers parse such tokens in a prompt's text, so a user who typed
    one could forge a message.
    """
    if not conversation.messages or conversation.messages[-1].role != "user":
        raise InputError("There is nothing to answer: the last message is not the user's. Add one with user(text).")
    messages: list[dict[str, Any]] = []
    if conversation.messages[0].role != "system":
        messages.append({"role": "system", "content": ""})  # else the exported template would insert the default one
    for role, content in conversation.messages:
        text = _CONTROL.sub("< |", content)
        if role == "user" and image is not None:
            parts = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": text}]
            messages.append({"role": role, "content": parts})
            image = None
        else:
            messages.append({"role": role, "content": text})
    return messages


def decoding_fields(config: GenerationConfig) -> dict[str, Any]:
    """Generation options as fields of a request; options without effect are left out.

    Raises:
        InputError: beam search, which servers do not offer.
    """
    if config.num_beams > 1:
        raise InputError("A server does no beam search. Leave num_beams (--beams) at 1.")
    fields: dict[str, Any] = {"max_tokens": config.max_new_tokens, "temperature": 0}
    if config.do_sample:
        fields |= {"temperature": config.temperature, "top_p": config.top_p, "seed": config.seed % (1 << 63)}
        fields |= {"top_k": config.top_k} if config.top_k else {}
        fields |= {"min_p": config.min_p} if config.min_p else {}
    if config.repetition_penalty != 1:
        fields["repetition_penalty"] = config.repetition_penalty
    if config.stop:
        fields["stop"] = list(config.stop)
    return fields


@dataclass
class Completion(TextAnswer):
    """An answer as it grows.

    Attributes:
        chunks: events that it came in, about one a token.
        finish: why it ended; empty until then.
    """

    chunks: int = 0
    finish: str = ""

    def keep_first_box(self) -> None:
        """Cuts the answer after its first box, where the grammar of a single box ends."""
        last = next((number for number, token in enumerate(self.tokens) if "]" in token), None)
        if last is not None:
            self.text = self.text.partition("]")[0] + "]"
            self.tokens = [*self.tokens[:last], self.tokens[last].partition("]")[0] + "]"]
            self.logprobs = self.logprobs[: last + 1]


def most_bytes(max_tokens: int) -> int:
    """The size above which a streamed answer of so many tokens cannot be one, with what a server adds to each."""
    return (1 << 20) + (max_tokens << 12)


def parse_stream(lines: Iterable[bytes], max_tokens: int) -> Iterator[Completion]:
    """Parses server-sent events; yields the answer as it grows (always the same object).

    A short text grows with each event, a long one by a part of it at once: each time, all of it is copied.

    Args:
        lines: of the stream.
        max_tokens: how long the answer may be.

    Raises:
        Dropped: the stream ends before the answer does, or the server reports a failure.
        Refused: it reports one with a status.
        RemoteError: the stream is no chat completion, or goes on beyond ``max_tokens``.
    """
    answer = Completion()
    finished = False
    pieces: list[str] = []
    letters = 0
    try:
        for line in lines:
            if not line.startswith(b"data:"):
                if line.strip() and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                    raise Nonsense("it is no stream of events")
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                finished = True
                break
            pieces.append(_add(answer, json.loads(data)))
            letters += len(pieces[-1])
            _check_length(answer, letters, max_tokens)
            if letters < SHORT or 64 * (letters - len(answer.text)) >= letters:
                answer.text += "".join(pieces)
                pieces.clear()
                yield answer
        answer.text += "".join(pieces)
    except Nonsense as error:
        raise RemoteError(f"What came is no chat completion: {error}. Is an OpenAI-compatible server there?") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise RemoteError(
            "What came is no chat completion: an event is not as OpenAI's are. Is an OpenAI-compatible server there?"
        ) from None
    if answer.finish in ("stop", "length"):
        return
    if answer.finish not in ("", "abort", "error"):
        reason = one_line(answer.finish, 40)
        raise RemoteError(f"The server ended the answer with '{reason}', which makes it no whole answer.")
    if finished and not answer.chunks:
        raise RemoteError("The server sent no answer (no choices). Is it an OpenAI-compatible server?")
    raise Dropped("the answer broke off")


def parse_prompt(data: bytes) -> Completion:
    """The tokens of a prompt with their log-probabilities, as vLLM tells them.

    Raises:
        RemoteError: there are none.
    """
    try:
        told = json.loads(data)["prompt_logprobs"]
        tokens = [next(iter(token.values())) for token in told if token]
        read = Completion(
            "".join(_valid(token["decoded_token"]) for token in tokens),
            [_valid(token["decoded_token"]) for token in tokens],
            [_logprob(token["logprob"]) for token in tokens],
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, StopIteration, Nonsense):
        raise RemoteError(
            "The server tells no probabilities of a given answer (prompt_logprobs), by which choices are rated. Use "
            "vLLM or llama.cpp."
        ) from None
    return read


def _add(answer: Completion, event: Any) -> str:
    """Adds an event to the answer, but for its text; raises what indexing raises if the event has another shape.

    Returns:
        The event's text.
    """
    added = ""
    if event.get("error") or event.get("object") == "error":
        raise _failure(event)
    for choice in event["choices"]:  # empty in an event that counts tokens
        if choice.get("index"):
            raise Nonsense("it is several answers, and one was asked for")
        answer.chunks += 1
        added += _valid(choice["delta"].get("content") or "")
        for token in (choice.get("logprobs") or {}).get("content") or ():
            spelled = token["token"]
            if len(spelled) > LONGEST_TOKEN:
                raise Nonsense(f"a token of it has {len(spelled):,} characters")
            answer.tokens.append("" if CONTROL_TOKEN.fullmatch(spelled) else _valid(spelled))
            answer.logprobs.append(_logprob(token.get("logprob")))
        answer.finish = choice.get("finish_reason") or answer.finish
        if not isinstance(answer.finish, str):
            raise TypeError
    return added


def _failure(event: Any) -> Exception:
    """An event that reports an error, as what its status would have been: an engine is asked behind the status 200.

    Without a status, or with another one than of a failure, a retry may mend it.
    """
    message, status = error_message(event), error_status(event)
    if status is None and is_too_long(message):
        status = 400
    if status is None:
        return Dropped(f"in mid-answer it reported an error: {message or '(without a message)'}")
    return Refused(status, message)


def _valid(text: str) -> str:
    """The text with a mark in place of half characters (lone surrogates), which JSON can spell and no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _logprob(value: Any) -> float:
    """A log-probability that came; scores are made of them, and none is made up."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _LOWEST <= value <= ROUNDING:
        raise Nonsense("a token comes with a log-probability that is none (missing, not finite or above 0)")
    return min(0.0, float(value))


def _check_length(answer: Completion, letters: int, max_tokens: int) -> None:
    too_much = (
        len(answer.tokens) > max_tokens + 1  # the end token, where a server does not count it
        or letters > LONGEST_TOKEN * max_tokens
        or answer.chunks > EVENTS_A_TOKEN * (max_tokens + 8)
    )
    if too_much:
        raise Nonsense(f"it goes on beyond the {max_tokens} tokens that were asked for")
