"""A conversation as somebody leads it at a prompt: messages, slash commands, and what becomes of what was said."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ...config import Task
from ...errors import InputError
from ...images.load import load_image
from ...images.names import at_home, unquoted
from ...jobs.files import write_jsonl
from ...pipeline.chat import Chat
from ..arguments.chat import SENTENCE_OF_G
from ..arguments.shared import read_format
from ..keyboard.prompt import Prompt
from ..output import log
from ..outputs import Outputs
from .turns import record, take_turn
from .unsaved import CHATS, keep_unsaved

FREE = "off"
"""What ``/format`` calls answers that are held to nothing."""
HELP = f"""Type a message. Commands:
  /task MM|G|Text   who answers from now on (MM sees, G answers with boxes, Text is the language model alone).
                    {SENTENCE_OF_G}
  /image FILE       what the conversation is about
  /format TEXT      hold words to a JSON schema (typed, or FILE.json) or a regular expression; off: to nothing
  /save FILE        write the conversation as JSON lines, which --script can read
  /clear            forget what was said
  /help  /quit"""


class Session:
    """Takes line after line.

    Args:
        chat: the conversation itself.
        settings: generation options of every turn.
        options: of the command.
        prompt: where the lines come from, and whom to ask before a file is replaced.

    Attributes:
        task: who answers from now on.
    """

    def __init__(self, chat: Chat, settings: dict[str, Any], options: argparse.Namespace, prompt: Prompt) -> None:
        self.task: Task = options.task
        self._chat, self._settings, self._prompt = chat, settings, prompt
        self._as_json: bool = options.json
        self._forgets: bool = options.forget
        self._image = os.path.abspath(options.image) if options.image else None  # a script finds it from anywhere
        self._shown: str | None = None  # the picture that the turns so far tell a script to show
        self._said: list[dict[str, Any]] = []
        self._saved = 0
        self._outputs = Outputs(options)
        self._mine: dict[Path, int] = {}

    def take(self, line: str) -> None:
        """Says a message, or carries out a command; a blank line is nothing."""
        if line.startswith("/"):
            self._command(line)
        elif line:
            turn = take_turn(self._chat, line, self.task, self._settings, self._as_json)
            shows = {"image": self._image} if self._image != self._shown else {}
            self._said.append(shows | record(turn, self._settings.get("format")))
            self._shown = self._image

    def keep_unsaved(self) -> None:
        """Keeps what would be lost, and says where; with ``--forget`` nothing."""
        if self._forgets or self._saved == len(self._said):
            return
        try:
            path = keep_unsaved(self._said)
        except InputError as error:
            log(f"(What was said is lost: {error})")
        else:
            log(f"(What was said is not saved. The last {CHATS} such chats are kept, this one in {path})")

    def _command(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        argument = argument.strip()
        if name == "/task":
            self.task = Task.parse(argument)
        elif name == "/image":
            self._show(_path(argument))
        elif name == "/format":
            self._hold(unquoted(argument))
        elif name == "/save":
            self._save(_path(argument))
        elif name == "/clear":
            self._clear()
        elif name == "/help":
            log(HELP + self._prompt.keys)
        else:
            raise InputError(f"There is no command {name}. /help lists them.")

    def _show(self, name: str) -> None:
        image = load_image(name)
        self._outputs.reads("/image", name)
        self._chat.image, self._image = image, os.path.abspath(name)
        log(f"{name}: {image.width}×{image.height}")

    def _hold(self, text: str) -> None:
        if not text:
            raise InputError("Say to what: /format TEXT, or /format off.")
        self._settings = {name: value for name, value in self._settings.items() if name != "format"}
        if text != FREE:
            self._settings["format"] = read_format(_path(text) if unquoted(text).endswith(".json") else text)

    def _clear(self) -> None:
        if self._prompt.is_typed:
            self.keep_unsaved()
        self._chat.clear()
        self._said, self._saved, self._shown = [], 0, None
        self._mine.clear()  # what they hold is said nowhere else any more

    def _save(self, name: str) -> None:
        """Writes what was said; what it has written itself, it replaces."""
        if not name:
            raise InputError("Say where: /save FILE.")
        if not self._said:
            raise InputError("Nothing has been said yet, so there is nothing to save.")
        path = Path(name)
        mine = path in self._mine and path.is_file() and path.stat().st_mtime_ns == self._mine[path]
        if not mine:
            asks = path.is_file() and self._prompt.is_typed and not self._outputs.overwrite
            self._outputs.writes("/save", path, again=asks)
            if asks and not self._prompt.agrees(f"{name} is there already. Replace it? [y/N] "):
                log("(not saved)")
                return
            mine = asks
        write_jsonl(path, self._said, overwrite=mine or self._outputs.overwrite)
        self._mine[path], self._saved = path.stat().st_mtime_ns, len(self._said)
        log(f"wrote {len(self._said)} turns to {name}")


def _path(text: str) -> str:
    """A path as one types it where no shell reads it first: in quotes, or in the home folder."""
    return at_home(unquoted(text))
