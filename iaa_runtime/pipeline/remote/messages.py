"""What is sent to a server and what comes back, in the terms of OpenAI's chat completions (as vLLM extends them)."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ...config import GenerationConfig
from ...errors import InputError, RemoteError
from ...images.load import bounded_square
from ...text.conversation import Conversation
from .retries import shown
from .transport import Dropped

LARGEST = 2048
"""Pixels of a sent square's side: six times what the tower sees, so shrinking here costs nothing that it could see."""

_BOXES = r"\[{n},{n},{n},{n}\](; \[{n},{n},{n},{n}\])*".replace("{n}", r"(0(\.[0-9]{1,3})?|1(\.0{1,3})?)")

_CONTROL = re.compile(r"<\|(?=\w+\|>)")
_CONTROL_TOKEN = re.compile(r"<\|\w+\|>")


def held_to_boxes(several: bool) -> str:
    """What the grammar of local answers accepts, as a regular expression for a server that can hold answers to one."""
    return _BOXES if several else _BOXES.partition("(; ")[0]


def data_url(picture: Image.Image) -> str:
    """A picture as a PNG in a URL, padded to a square with the mean colour as the model's own preprocessing does."""
    file = io.BytesIO()
    bounded_square(picture, LARGEST).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def messages(conversation: Conversation, image: str | None) -> list[dict[str, Any]]:
    """A conversation as chat messages, the picture (a URL) before the words of the first user message.

    What looks like a control token is broken up: servers read their prompt's text for such tokens, so a user who types
    one could otherwise forge a message.
    """
    if not conversation.messages or conversation.messages[-1].role != "user":
        raise InputError("There is nothing to answer: the last message is not the user's. Add one with user(text).")
    written: list[dict[str, Any]] = []
    if conversation.messages[0].role != "system":
        written.append({"role": "system", "content": ""})  # else the exported template would put in the default one
    for role, content in conversation.messages:
        said = _CONTROL.sub("< |", content)
        if role == "user" and image is not None:
            parts = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": said}]
            written.append({"role": role, "content": parts})
            image = None
        else:
            written.append({"role": role, "content": said})
    return written


def decoding(config: GenerationConfig) -> dict[str, Any]:
    """Generation options as fields of the request; those that change nothing are left out.

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
class Completion:
    """An answer as far as it has come.

    Attributes:
        text: what it says.
        pieces: what each token says, where the server tells; control tokens say nothing.
        logprobs: of each of those tokens, under the model's own distribution.
        chunks: how many pieces it came in, about one a token.
        finish: why it ended; empty while it has not.
    """

    text: str = ""
    pieces: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    chunks: int = 0
    finish: str = ""

    def keep_first_box(self) -> None:
        """Drops what follows the first box, as the grammar of one box would have ended there."""
        last = next((number for number, piece in enumerate(self.pieces) if "]" in piece), None)
        if last is not None:
            self.text = self.text.partition("]")[0] + "]"
            self.pieces = [*self.pieces[:last], self.pieces[last].partition("]")[0] + "]"]
            self.logprobs = self.logprobs[: last + 1]


def read_stream(lines: Iterable[bytes]) -> Iterator[Completion]:
    """Reads server-sent events, and yields the answer (one object, ever longer) after each.

    Raises:
        Dropped: the stream ends before the answer does, or the server says that it failed on the way.
        RemoteError: what comes is no chat completion.
    """
    answer = Completion()
    over = False
    try:
        for line in lines:
            if not line.startswith(b"data:"):
                if line.strip() and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                    raise ValueError(line.decode(errors="replace"))
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                over = True
                break
            _add(answer, json.loads(data))
            yield answer
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RemoteError(
            f"What came is no chat completion: {shown(str(error))}. Is an OpenAI-compatible server there?"
        ) from None
    if answer.finish in ("stop", "length"):
        return
    if answer.finish not in ("", "abort", "error"):
        raise RemoteError(f"The server ended the answer with {shown(answer.finish)!r}, which makes it no whole answer.")
    if over and not answer.chunks:
        raise RemoteError("The server sent no answer (no choices). Is it an OpenAI-compatible server?")
    raise Dropped("the answer broke off")


def _add(answer: Completion, event: Any) -> None:
    """Adds what an event says; raises what indexing raises where it has another shape."""
    if event.get("error"):
        raise Dropped(f"in mid-answer it said {shown(json.dumps(event['error']))}")
    for choice in event["choices"]:  # none in an event that counts tokens
        answer.chunks += 1
        said = choice["delta"].get("content") or ""
        if not isinstance(said, str):
            raise TypeError(f"content {said!r}")
        answer.text += said
        for token in (choice.get("logprobs") or {}).get("content") or ():
            answer.pieces.append("" if _CONTROL_TOKEN.fullmatch(token["token"]) else token["token"])
            answer.logprobs.append(min(0.0, float(token["logprob"])))
        answer.finish = choice.get("finish_reason") or answer.finish
