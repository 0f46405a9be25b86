"""A program in a pseudo-terminal: typed to, and read as one sees it. Of Linux and macOS."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120
"""Seconds until a text that does not come is missed."""
LEFT, UP, TAB, CTRL_C, CTRL_D, BACKSPACE = "\x1b[D", "\x1b[A", "\t", "\x03", "\x04", "\x7f"


class Terminal:
    """Its keyboard and what it shows.

    Attributes:
        shown: all that the program has written.
        process: the program.
    """

    def __init__(self, handle: int, process: subprocess.Popen[bytes]) -> None:
        self._handle, self.process = handle, process
        self.shown = ""
        self._seen = 0

    def press(self, keys: str) -> None:
        """Types."""
        os.write(self._handle, keys.encode())

    def wait_for(self, text: str) -> str:
        """Reads until a text is shown behind what was waited for before; returns what was shown up to it."""
        deadline = time.monotonic() + PATIENCE
        while (at := self.shown.find(text, self._seen)) < 0:
            assert self._read(deadline), f"{text!r} did not come: {self.shown[self._seen :]!r}"
        begin, self._seen = self._seen, at + len(text)
        return self.shown[begin : self._seen]

    def enter(self, line: str, then: str) -> str:
        """Types a line and Enter; returns what is shown until a text comes."""
        self.press(line + "\r")
        return self.wait_for(then)

    def interrupt(self, then: str) -> str:
        """Presses Ctrl-C once the program waits for keys; returns what is shown until a text comes."""
        self.settle()
        self.press(CTRL_C)
        return self.wait_for(then)

    def settle(self) -> None:
        """Waits until the program sleeps: Python's readline overlooks a signal in the instant before, until Enter."""
        status, before = Path(f"/proc/{self.process.pid}/status"), ""
        time.sleep(0.1)
        while status.exists():  # not on macOS
            now = status.read_text()
            asleep = re.search(r"^State:\s+S", now, re.MULTILINE)
            if asleep and _switches(now) == before:
                return
            before = _switches(now)
            time.sleep(0.05)

    def echoes(self) -> bool:
        """Whether the terminal itself shows what is typed, as shells expect it."""
        return bool(termios.tcgetattr(self._handle)[3] & termios.ECHO)

    def end(self) -> int:
        """Reads to the program's end; returns its exit status."""
        while self._read(time.monotonic() + PATIENCE):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._handle], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        try:
            new = os.read(self._handle, 1 << 16)
        except OSError:  # so Linux says that no program has opened it: any more, or yet
            time.sleep(0.01)
            return self.process.poll() is None and time.monotonic() < deadline
        self.shown += new.decode(errors="replace")
        return bool(new)


def _switches(status: str) -> str:
    """How often a process has gone to sleep: its main thread, of which Linux tells so."""
    return status[status.index("voluntary_ctxt_switches") :].split("\n", 1)[0]


@contextmanager
def terminal(command: Sequence[str], environment: dict[str, str], cwd: str | os.PathLike[str]) -> Iterator[Terminal]:
    """Runs a program with a terminal of its own, which Ctrl-C reaches as it does a shell's."""
    handle, other = os.openpty()
    # The first terminal that the leader of a new session opens is the session's.
    opened = ["sh", "-c", f'exec "$@" <>{os.ttyname(other)} >&0 2>&0', "sh", *command]
    ours = os.environ | {"TERM": "xterm", "LC_ALL": "C.UTF-8", "INPUTRC": os.devnull} | environment
    process = subprocess.Popen(opened, env=ours, cwd=cwd, start_new_session=True)
    os.close(other)
    try:
        yield Terminal(handle, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(handle)
