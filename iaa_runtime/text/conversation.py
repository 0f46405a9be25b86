"""A conversation with the model, and its encoding as token ids in the Llama 3 chat layout.

The layout is written by token id, not through the tokenizer's own template. That way only this module can put a control
token into a prompt: whatever a user types is encoded as plain text, even ``<|eot_id|>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol, cast

from ..config import IMAGE_TOKEN_INDEX, Task
from ..errors import CheckpointError, InputError
from .prompts import DEFAULT_SYSTEM
from .tokenizer import encode, token_id

BEGIN_OF_TEXT = "<|begin_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
EOT = "<|eot_id|>"
"""Ends every message; the only token that ends an answer."""
IMAGE_TOKEN = "<|reserved_special_token_44|>"
"""Where the image stands in a prompt's text; in ids it is ``IMAGE_TOKEN_INDEX``."""

Role = Literal["system", "user", "assistant"]


class Tokenizer(Protocol):
    """The part of a ``transformers`` fast tokenizer that prompts are made with."""

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]:
        """Returns the text's ids; with ``split_special_tokens``, control tokens in it are spelled out."""

    def convert_tokens_to_ids(self, tokens: str) -> int | None:
        """Returns the id of one token, or the unknown token's, or None."""

    @property
    def unk_token_id(self) -> int | None:
        """The id that stands for tokens outside the vocabulary, where there is one."""


class Message(NamedTuple):
    """One message of a conversation and whose it is."""

    role: Role
    content: str


class Conversation:
    """Messages that the model continues: perhaps a system prompt, then user and assistant in turn.

    Args:
        system: The system prompt; None or blank leaves it out.

    Example:
        >>> talk = Conversation(system=None).user("What is left of right?").assistant("Left.").user("Sure?")
        >>> [message.role for message in talk.messages]
        ['user', 'assistant', 'user']
    """

    def __init__(self, system: str | None = DEFAULT_SYSTEM) -> None:
        self._messages: list[Message] = []
        if system and system.strip():
            self._messages.append(Message("system", system))

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages in order, the system prompt first if there is one."""
        return tuple(self._messages)

    def user(self, text: str) -> Conversation:
        """Adds the user's message and returns this conversation; raises :class:`InputError` out of turn."""
        return self._add("user", text)

    def assistant(self, text: str) -> Conversation:
        """Adds the model's answer and returns this conversation; raises :class:`InputError` out of turn."""
        return self._add("assistant", text)

    def encode(self, tokenizer: Tokenizer, task: Task | str, *, image: bool = True) -> list[int]:
        """Encodes the conversation as the prompt for its next answer.

        As in the published chat scripts, the image stands before the first user message in every MM and G prompt and
        in no Text prompt, so the task may change from turn to turn.

        Args:
            tokenizer: The checkpoint's tokenizer.
            task: The task that will answer.
            image: Whether there is an image; False asks MM or G without one.

        Returns:
            Token ids, ending with the assistant's header; ``IMAGE_TOKEN_INDEX`` marks the image.

        Raises:
            InputError: If the last message is not the user's, or one is not valid Unicode.
            CheckpointError: If the tokenizer lacks a token of the layout, or cannot encode one as text.
        """
        if not self._messages or self._messages[-1].role != "user":
            raise InputError("There is nothing to answer: the last message is not the user's. Add one with user(text).")
        layout = _Layout(tokenizer)
        ids = [layout.begin]
        image_due = image and Task.parse(task).sees
        for role, content in self._messages:
            shown = image_due and role == "user"
            ids += layout.header(role) + layout.body(content, shown) + [layout.eot]
            image_due = image_due and not shown
        return ids + layout.header("assistant") + layout.text("\n\n")

    def copy(self) -> Conversation:
        """Returns a conversation with the same messages that can go on independently."""
        twin = Conversation(system=None)
        twin._messages = list(self._messages)
        return twin

    def pop_oldest_turn(self) -> bool:
        """Drops the oldest question with its answer, for when the context is full; keeps the system prompt.

        Returns:
            Whether there was one to drop; a question still unanswered is kept.
        """
        start = 1 if self._messages and self._messages[0].role == "system" else 0
        if len(self._messages) < start + 2:
            return False
        del self._messages[start : start + 2]
        return True

    def to_list(self) -> list[dict[str, str]]:
        """Returns the messages as plain ``{"role", "content"}`` dicts, ready for JSON."""
        return [message._asdict() for message in self._messages]

    @classmethod
    def from_list(cls, messages: Iterable[Mapping[str, str]]) -> Conversation:
        """Makes a conversation of what :meth:`to_list` returned.

        Args:
            messages: ``{"role", "content"}`` mappings: a system prompt or none, then user and assistant in turn.

        Returns:
            The conversation.

        Raises:
            InputError: If an entry has another shape or stands out of turn.
        """
        conversation = cls(system=None)
        for position, entry in enumerate(messages):
            if not isinstance(entry, Mapping) or not {"role", "content"} <= set(entry):
                raise InputError(f"Message {position} of the conversation has no role and content, but is {entry!r}.")
            conversation._add(entry["role"], entry["content"])
        return conversation

    def _add(self, role: str, text: str) -> Conversation:
        """Appends a message if it is that role's turn."""
        if not isinstance(text, str):
            raise InputError(f"The content of a message is text, but this {role} message is {type(text).__name__}.")
        before = self._messages[-1].role if self._messages else None
        allowed = {None: ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}[
            before
        ]
        if role not in allowed:
            after = f"after a {before} message" if before else "at the start of a conversation"
            raise InputError(f"A {role!r} message cannot stand {after}; expected {' or '.join(allowed)}.")
        self._messages.append(Message(cast(Role, role), text))
        return self


class _Layout:
    """The Llama 3 chat layout in the ids of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.begin = token_id(tokenizer, BEGIN_OF_TEXT)
        self.eot = token_id(tokenizer, EOT)
        self._start_header = token_id(tokenizer, START_HEADER)
        self._end_header = token_id(tokenizer, END_HEADER)
        control = (BEGIN_OF_TEXT, EOT, START_HEADER, END_HEADER, IMAGE_TOKEN)
        self._control = {tokenizer.convert_tokens_to_ids(token) for token in control} - {tokenizer.unk_token_id}

    def header(self, role: Role) -> list[int]:
        """The ids that say whose message follows, without the blank line after them."""
        return [self._start_header, *self.text(role), self._end_header]

    def body(self, content: str, image: bool) -> list[int]:
        """The ids of a message behind its header, with the image in front if ``image``.

        Each run of text between control tokens is encoded as one, blank line included, as tokens may span both. The
        published template strips the message with the mark in it, so behind an image leading blanks stay.
        """
        if not image:
            return self.text("\n\n" + content.strip())
        return [*self.text("\n\n"), IMAGE_TOKEN_INDEX, *self.text(f"\n{content}".rstrip())]

    def text(self, text: str) -> list[int]:
        """The ids of plain text.

        Raises:
            InputError: If it holds half of a surrogate pair, as bytes that are no UTF-8 become on a command line.
            CheckpointError: If the tokenizer makes a control token of it.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"The text holds {text[error.start]!r}, which is no character. Type it anew; if it came from a file, "
                "save that as UTF-8."
            ) from None
        ids = encode(self._tokenizer, text)
        if not self._control.isdisjoint(ids):
            raise CheckpointError(
                "The tokenizer cannot encode control tokens as plain text, so a prompt could forge messages. "
                "Load the checkpoint's own tokenizer.json with AutoTokenizer."
            )
        return ids
