"""Where lines come from: a person at a terminal, who edits them, goes back to earlier ones and completes; or a pipe."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, ModuleType

from ...errors import InputError
from ...text.printable import printable
from ..failures import Terminated
from ..output import log
from .history import History

KEYS = "\nTAB completes, the arrow keys go back to what was typed. Ctrl-C clears the line, or stops an answer."
NO_KEYS = "\nThis Python has no readline: lines are edited as the terminal does it, without history and completion."


class Prompt:
    """Reads lines.

    Readline's editing needs both of the terminal's ends: where one is a file or a pipe, or Python has no readline (as
    on Windows), a line comes as the system hands it over.

    Args:
        completions: all that a line may become.
        remembers: keeps lines for the next time, and knows those of the last.

    Attributes:
        is_typed: somebody sits at a terminal.
        keys: what to say about keys.
    """

    def __init__(self, completions: Callable[[str], list[str]], remembers: bool = True) -> None:
        self.is_typed = sys.stdin is not None and sys.stdin.isatty()
        self.keys = ""
        self._completions, self._found, self._interrupted = completions, [""], ""
        self._readline: ModuleType | None = None
        self._history: History | None = None
        if self.is_typed and sys.stdout.isatty() and threading.current_thread() is threading.main_thread():
            self._edit(remembers)

    def read(self, prompt: str) -> str:
        """The next line.

        Raises:
            EOFError: the input has ended: by Ctrl-D, or by Ctrl-C for the second time, on an empty line.
            KeyboardInterrupt: Ctrl-C, where nobody types.
        """
        was_told = False
        while True:
            try:
                line = self._line(prompt)
            except Terminated:
                raise
            except KeyboardInterrupt:
                if not self.is_typed:
                    raise
                print(file=sys.stderr)
                if was_told and not self._interrupted:
                    raise EOFError from None
                was_told = True
                log("(Ctrl-C on an empty line, Ctrl-D or /quit leaves.)")
            except EOFError:
                if self.is_typed:
                    print(file=sys.stderr)
                raise
            else:
                self._remember(line)
                return line

    def agrees(self, question: str) -> bool:
        """Whether the answer to a question is yes."""
        try:
            return self._line(question).strip().lower() in ("y", "yes")
        except Terminated:
            raise
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return False

    def _edit(self, remembers: bool) -> None:
        try:
            import readline
        except ImportError:
            self.keys = NO_KEYS
            return
        self.keys, self._readline = KEYS, readline
        by_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if by_libedit else "tab: complete")
        readline.set_completer_delims(" ")
        readline.set_completer(self._complete)
        readline.set_auto_history(False)
        if not remembers:
            return
        try:
            self._history = History()
        except InputError as error:
            log(f"(What is typed is not remembered: {error})")
            return
        for line in self._history.lines():
            readline.add_history(line)

    def _complete(self, word: str, number: int) -> str | None:
        """Readline's way to ask: what may stand in the place of a word, one after the other."""
        assert self._readline is not None
        if number == 0:
            line = self._readline.get_line_buffer()[: self._readline.get_endidx()]
            self._found = [whole[len(line) - len(word) :] for whole in self._completions(line)]
        return self._found[number] if number < len(self._found) else None

    def _line(self, prompt: str) -> str:
        self._interrupted = ""
        if self._readline is None:
            print(prompt, end="", file=sys.stderr, flush=True)  # stdout is for answers
            return input()
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            return input(prompt)  # readline has to know the prompt, to draw the line anew behind it
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        assert self._readline is not None
        self._interrupted = self._readline.get_line_buffer()
        raise KeyboardInterrupt

    def _remember(self, line: str) -> None:
        """Takes a line up into the history, unless it is blank, a control character's or the same as before."""
        if self._readline is None or not line.strip() or printable(line) != line:
            return
        last = self._readline.get_current_history_length()
        if last and self._readline.get_history_item(last) == line:
            return
        self._readline.add_history(line)
        if self._history:
            with suppress(OSError):
                self._history.add(line)
