"""IAA Chat: one turn of a conversation whose task may change from turn to turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.config import Task
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.images.picture import Picture
from ..iaa_runtime.pipeline.chat import Chat, Reply
from ..iaa_runtime.text.conversation import Conversation
from .host import ModelHandle, check_interrupt
from .inputs import Node
from .notes import notes_ui
from .options import (
    CATEGORY,
    DEFAULTS,
    IAAChatType,
    format_input,
    generation_options,
    length_input,
    model_input,
    sampling_input,
)
from .previews import boxes_ui, texts_ui
from .progress import Progress
from .values import bounding_boxes, pictures


@dataclass(frozen=True)
class ChatHistory:
    """What an ``IAA_CHAT`` socket carries: the messages so far, and the image that they are about."""

    messages: tuple[dict[str, str], ...]
    image: Picture | None


class ChatTurn(Node):
    """Says one thing in a conversation and gives the answer and the longer history."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_Chat",
            category=CATEGORY,
            search_aliases=["conversation", "dialogue", "talk about image", "interleaved chat", "multi-turn"],
            inputs=[
                model_input(),
                io.String.Input("message", multiline=True, default=""),
                io.Combo.Input("task", options=[task.value for task in Task], default=Task.MM.value, optional=True),
                io.Image.Input("image", optional=True),
                IAAChatType.Input("history", optional=True),
                length_input(),
                sampling_input(),
                format_input(),
            ],
            outputs=[
                io.String.Output("answer"),
                IAAChatType.Output("history"),
                io.BoundingBox.Output("bboxes"),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, message: Any = None, *, sampling: Any = None) -> bool | str:
        """A turn needs words."""
        if isinstance(message, str) and not message.strip():
            return "'message' is empty. Type what to say."
        return True

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        message: str,
        task: str = Task.MM.value,
        image: torch.Tensor | None = None,
        history: ChatHistory | None = None,
        max_new_tokens: int = DEFAULTS.max_new_tokens,
        sampling: dict[str, Any] | None = None,
        format: str = "",
    ) -> io.NodeOutput:
        """Takes the turn."""
        if not message.strip():
            raise InputError("'message' is empty. Connect or type what to say.")
        progress = Progress(1, max_new_tokens, cls.hidden.unique_id)
        with model.in_use() as pipeline:
            before = Conversation.from_list(history.messages) if history is not None else None
            chat = Chat(pipeline, picture(image, history), conversation=before)
            turn = chat.say(
                message,
                task,
                on_token=progress.on_token,
                on_text=progress.on_text,
                cancelled=check_interrupt,
                **generation_options(max_new_tokens, sampling, format),
            )
        progress.done()
        return output(chat, turn.reply, notes_ui(pipeline), cls)


def output(chat: Chat, reply: Reply, notes: dict[str, list[str]], cls: type[io.ComfyNode]) -> io.NodeOutput:
    """The node's outputs and what it shows."""
    history = ChatHistory(tuple(chat.conversation.to_list()), chat.image)
    images = [chat.image] if reply.detections and chat.image is not None else []
    # The same keys without boxes: of a list of turns, ComfyUI puts those of the first together. An app shows the first
    # key first.
    shown = boxes_ui(images, [reply.detections] * len(images), cls) | texts_ui([reply.text]) | notes
    return io.NodeOutput(reply.text, history, bounding_boxes([reply.detections]), ui=shown)


def picture(image: torch.Tensor | None, history: ChatHistory | None) -> Picture | None:
    """What the turn is about: a new image, or the one before.

    Raises:
        InputError: more than one image.
    """
    if image is None:
        return history.image if history is not None else None
    if len(image) != 1:
        raise InputError(f"A conversation is about one image, but {len(image)} came. Pick one: Get Image from Batch.")
    return pictures(image)[0]
