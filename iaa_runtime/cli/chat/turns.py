"""One turn: asked, and shown as it is answered."""

from __future__ import annotations

from typing import Any

from ...config import Task
from ...pipeline.chat import Chat, Turn
from ..output import BOX, log, print_json


def take_turn(chat: Chat, text: str, task: Task, settings: dict[str, Any], as_json: bool) -> Turn:
    """Asks and prints the answer: as it comes, or as one line of JSON.

    A format is for words: a G turn goes without, since its boxes have a grammar of their own.
    """
    if task is Task.G:
        settings = {name: value for name, value in settings.items() if name != "format"}
    if as_json:
        turn = chat.say(text, task, **settings)
        print_json(record(turn, settings.get("format")))
        return turn
    turn = chat.say(text, task, on_text=lambda _, new: print(new, end="", flush=True), **settings)
    print()
    for d in turn.reply.detections:
        print(f"  {BOX.format(**d.to_dict())}")
    if turn.forgotten:
        log(f"(The context was full: the {turn.forgotten} oldest turns were forgotten.)")
    return turn


def record(turn: Turn, format: str | None) -> dict[str, Any]:
    """A turn as a line of JSON, which a script may hold, with the format that its words were held to."""
    record: dict[str, Any] = {"task": turn.task.value, "text": turn.question, "answer": turn.reply.text}
    if format and turn.task is not Task.G:
        record["format"] = format
    if turn.task is Task.G:
        record["detections"] = [
            {name: value for name, value in d.to_dict().items() if name != "label"} for d in turn.reply.detections
        ]
    if turn.forgotten:
        record["forgotten"] = turn.forgotten
    return record
