"""``iaa chat``: a conversation at a prompt or from a file, as in both published chat scripts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import Task
from ..errors import IAAError, InputError, spelled
from ..images.load import load_image
from ..jobs.files import check_text, numbered_jsonl, write_jsonl
from ..pipeline.chat import Chat, Turn
from .arguments.shared import STDIN, generation_options
from .failures import Terminated, explain
from .opening import open_pipeline
from .output import BOX, log, print_json
from .outputs import Outputs
from .stdin import picture_file

HELP = """Type a message. Commands:
  /task MM|G|Text   who answers from now on (MM sees, G answers with boxes, Text is the language model alone)
  /image FILE       what the conversation is about
  /save FILE        write the conversation as JSON lines, which --script can read
  /clear            forget what was said
  /help  /quit"""


def run(options: argparse.Namespace) -> int:
    """Chats until the script or the input ends."""
    task: Task = options.task
    settings = generation_options(options)
    turns = list(_read_script(Path(options.script))) if options.script else None
    image = load_image(picture_file() if options.image == STDIN else options.image) if options.image else None
    chat = open_pipeline(options).chat(image)
    if turns is None:
        return _converse(chat, task, settings, options)
    for turn in turns:
        if turn["image"]:
            chat.image = load_image(turn["image"])
        task = turn["task"] or task
        if not options.json:
            print(f"[{task.value}] {turn['text']}")
        _take_turn(chat, turn["text"], task, settings, options.json)
    return 0


def _read_script(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the turns of a script: ``text``, and ``task`` and ``image`` or None."""
    for number, turn in numbered_jsonl(path):
        if not isinstance(turn.get("text"), str):
            raise InputError(f'{path}, line {number}: needs a "text", as in {{"task": "MM", "text": "What is this?"}}.')
        check_text(turn["text"], f"{path}, line {number}")
        image = turn.get("image") or ""
        if not isinstance(image, str):
            raise InputError(f'{path}, line {number}: "image" is the path of a picture, not {spelled(image)}.')
        if image and not os.path.exists(image):
            raise InputError(f"{path}, line {number}: there is no image at {spelled(image, 200)}. Check the path.")
        try:
            task = Task.parse(turn["task"]) if turn.get("task") else None
        except IAAError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        yield {"text": turn["text"], "task": task, "image": image}


def _take_turn(chat: Chat, text: str, task: Task, settings: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(_record(chat.say(text, task, **settings)))
        return
    turn = chat.say(text, task, on_text=lambda _, new: print(new, end="", flush=True), **settings)
    print()
    for d in turn.reply.detections:
        print(f"  {BOX.format(**d.to_dict())}")
    if turn.forgotten:
        log(f"(The context was full: the {turn.forgotten} oldest turns were forgotten.)")


def _record(turn: Turn) -> dict[str, Any]:
    record: dict[str, Any] = {"task": turn.task.value, "text": turn.question, "answer": turn.reply.text}
    if turn.task is Task.G:
        record["detections"] = [
            {name: value for name, value in d.to_dict().items() if name != "label"} for d in turn.reply.detections
        ]
    if turn.forgotten:
        record["forgotten"] = turn.forgotten
    return record


def _converse(chat: Chat, task: Task, settings: dict[str, Any], options: argparse.Namespace) -> int:
    log(HELP)
    saver = _Saver(options)
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
                task = _command(chat, task, line, saver)
            elif line:
                _take_turn(chat, line, task, settings, options.json)
        except IAAError as error:
            log(str(error))
        except Terminated:
            raise
        except KeyboardInterrupt:
            log("\n(stopped; this turn is not remembered)")
        except OSError:  # of the terminal
            raise
        except Exception as error:  # the conversation so far is worth more than the end of the program
            if options.debug:
                raise
            log(f"{explain(error, options)} (This turn is not remembered.)")


def _command(chat: Chat, task: Task, line: str, saver: _Saver) -> Task:
    """Carries out a slash command; returns the task that answers from now on."""
    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name == "/task":
        return Task.parse(argument)
    if name == "/image":
        chat.image = load_image(argument)
        saver.outputs.reads("/image", argument)
        log(f"{argument}: {chat.image.width}×{chat.image.height}")
    elif name == "/save":
        saver.save(chat, argument)
    elif name == "/clear":
        chat.clear()
    elif name == "/help":
        log(HELP)
    else:
        raise InputError(f"There is no command {name}. /help lists them.")
    return task


class _Saver:
    """Saves the conversation; what it has written itself, it replaces."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.outputs = Outputs(options)
        self._mine: dict[Path, int] = {}

    def save(self, chat: Chat, name: str) -> None:
        if not name:
            raise InputError("Say where: /save FILE.")
        path = Path(name)
        mine = path in self._mine and path.is_file() and path.stat().st_mtime_ns == self._mine[path]
        if not mine:
            self.outputs.writes("/save", path)
        write_jsonl(path, map(_record, chat.turns), overwrite=mine or self.outputs.overwrite)
        self._mine[path] = path.stat().st_mtime_ns
        log(f"wrote {len(chat.turns)} turns to {name}")
