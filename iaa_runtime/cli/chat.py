"""``iaa chat``: both published chat scripts, at a prompt or from a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import Task
from ..errors import IAAError, InputError
from ..images.load import load_image
from ..pipeline.chat import Chat, Turn
from . import common

HELP = """Type a message. Commands:
  /task MM|G|Text   who answers from now on (MM sees, G answers with boxes, Text is the language model alone)
  /image FILE       what the conversation is about
  /save FILE        write the conversation as JSON lines, which --script can read
  /clear            forget what was said
  /help  /quit"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--image", metavar="FILE", help="what the conversation is about")
    parser.add_argument(
        "--task",
        type=common.checked(_task),
        default=Task.MM,
        metavar="MM|G|Text",
        help="who answers first (default MM)",
    )
    parser.add_argument(
        "--script",
        metavar="FILE.jsonl",
        help='take turns from a file: {"task": "G", "text": "…"} a line; an "image" in a line shows another picture',
    )
    common.add_json_argument(parser)
    common.add_model_arguments(parser)
    common.add_server_arguments(parser)
    common.add_generation_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Talks until the file or the person ends."""
    task: Task = options.task
    settings = common.generation_options(options)
    turns = list(_read_script(Path(options.script))) if options.script else None
    chat = common.open_pipeline(options).chat(load_image(options.image) if options.image else None)
    if turns is None:
        return _converse(chat, task, settings, options.json)
    for turn in turns:
        if turn["image"]:
            chat.image = load_image(turn["image"])
        task = turn["task"] or task
        if not options.json:
            print(f"[{task.value}] {turn['text']}")
        _say(chat, turn["text"], task, settings, options.json)
    return 0


def _task(name: str) -> Task:
    try:
        return Task.parse(name)
    except IAAError as error:
        raise InputError(str(error)) from None


def _read_script(path: Path) -> Iterator[dict[str, Any]]:
    """Checks the whole file before the first turn is taken."""
    try:
        # Not splitlines: JSON may hold other line ends of Unicode, and what /save writes does.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The script {path} cannot be read ({error}).") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            turn = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error.msg}).") from None
        if not isinstance(turn, dict) or not isinstance(turn.get("text"), str):
            raise InputError(f'{path}, line {number}: needs a "text", as in {{"task": "MM", "text": "What is this?"}}.')
        if not isinstance(turn.get("image") or "", str):
            raise InputError(f'{path}, line {number}: "image" is the path of a picture, not {turn["image"]!r}.')
        yield {
            "text": turn["text"],
            "task": _task(turn["task"]) if turn.get("task") else None,
            "image": turn.get("image"),
        }


def _say(chat: Chat, text: str, task: Task, settings: dict[str, Any], as_json: bool) -> None:
    if as_json:
        common.put(_record(chat.say(text, task, **settings)))
        return
    turn = chat.say(text, task, on_text=lambda _, piece: print(piece, end="", flush=True), **settings)
    print()
    for d in turn.reply.detections:
        print(f"  x={d.x} y={d.y} width={d.width} height={d.height} score={d.score:.2f}")
    if turn.forgotten:
        common.tell(f"(The context was full: the {turn.forgotten} oldest turns were forgotten.)")


def _record(turn: Turn) -> dict[str, Any]:
    record: dict[str, Any] = {"task": turn.task.value, "text": turn.question, "answer": turn.reply.text}
    if turn.task is Task.G:
        record["detections"] = [
            {name: value for name, value in d.to_dict().items() if name != "label"} for d in turn.reply.detections
        ]
    if turn.forgotten:
        record["forgotten"] = turn.forgotten
    return record


def _converse(chat: Chat, task: Task, settings: dict[str, Any], as_json: bool) -> int:
    common.tell(HELP)
    while True:
        print(f"{task.value}> ", end="", file=sys.stderr, flush=True)  # stdout is for answers
        try:
            line = input().strip()
        except EOFError:
            return 0
        try:
            if line in ("/quit", "/exit"):
                return 0
            if line.startswith("/"):
                task = _command(chat, task, line)
            elif line:
                _say(chat, line, task, settings, as_json)
        except IAAError as error:
            common.tell(str(error))
        except KeyboardInterrupt:
            common.tell("\n(stopped; this turn is not remembered)")


def _command(chat: Chat, task: Task, line: str) -> Task:
    """Carries out a slash command and returns the task that answers from now on."""
    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name == "/task":
        return _task(argument)
    if name == "/image":
        chat.image = load_image(argument)
        common.tell(f"{argument}: {chat.image.width}×{chat.image.height}")
    elif name == "/save":
        _save(chat, argument)
    elif name == "/clear":
        chat.clear()
    elif name == "/help":
        common.tell(HELP)
    else:
        raise InputError(f"There is no command {name}. /help lists them.")
    return task


def _save(chat: Chat, name: str) -> None:
    if not name:
        raise InputError("Say where: /save FILE.")
    lines = [json.dumps(_record(turn), ensure_ascii=False) + "\n" for turn in chat.turns]
    try:
        Path(name).write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{name} cannot be written ({error.strerror or error}).") from None
    common.tell(f"wrote {len(lines)} turns to {name}")
