"""``iaa chat``: a conversation at a prompt or from a script, as in both published chat scripts."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from ...errors import IAAError
from ...images.load import load_image
from ..arguments.shared import STDIN, generation_options
from ..failures import Terminated, explain
from ..keyboard.prompt import Prompt
from ..opening import open_pipeline
from ..output import complain, log
from ..stdin import picture_file
from .completion import completions
from .script import ScriptTurn, read_script
from .session import HELP, Session
from .turns import take_turn


def run(options: argparse.Namespace) -> int:
    """Chats until the script or the input ends."""
    settings = generation_options(options)
    turns: Iterable[ScriptTurn] = ()
    if options.script:
        turns = read_script(options.script, options.task, settings)
        if options.script != STDIN:
            turns = list(turns)  # a file is checked to its end before anything is said
    image = load_image(picture_file() if options.image == STDIN else options.image) if options.image else None
    pipeline = open_pipeline(options)
    chat = pipeline.chat(image)
    if not options.script:
        prompt = Prompt(completions, remembers=not options.forget)
        return _converse(Session(chat, settings, options, prompt), prompt, options)
    if isinstance(turns, list):
        for task in dict.fromkeys(turn.task for turn in turns):
            pipeline.check_task(task)
    for turn in turns:
        if turn.image:
            chat.image = load_image(turn.image)
        if not options.json:
            print(f"[{turn.task.value}] {turn.text}")
        take_turn(chat, turn.text, turn.task, turn.settings, options.json)
    return 0


def _converse(session: Session, prompt: Prompt, options: argparse.Namespace) -> int:
    log(HELP + prompt.keys)
    try:
        while True:
            try:
                line = prompt.read(f"{session.task.value}> ").strip()
                if line in ("/quit", "/exit"):
                    return 0
                session.take(line)
            except EOFError:
                return 0
            except IAAError as error:
                complain(str(error))
            except Terminated:
                raise
            except KeyboardInterrupt:
                if not prompt.is_typed:
                    raise
                log("\n(stopped; this turn is not remembered)")
            except OSError:  # of the terminal
                raise
            except Exception as error:  # the conversation so far is worth more than the end of the program
                if options.debug:
                    raise
                complain(f"{explain(error, options)} (This turn is not remembered.)")
    finally:
        if prompt.is_typed:
            session.keep_unsaved()
