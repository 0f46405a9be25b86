"""``iaa chat`` at a terminal: editing, history, completion, Ctrl-C, and what becomes of what nobody saved."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import FEW

from iaa_runtime.cli.chat.completion import completions
from iaa_runtime.cli.chat.unsaved import CHATS, keep_unsaved
from iaa_runtime.cli.keyboard.history import LINES, LONGEST, History

if os.name != "posix":
    pytest.skip("pseudo-terminals are of Linux and macOS", allow_module_level=True)

from terminal import BACKSPACE, CTRL_D, LEFT, TAB, UP, Terminal, terminal

PROMPT = """
import logging, sys
logging.basicConfig(level="INFO", format="%(message)s")
from iaa_runtime.cli.failures import ended_like_ctrl_c
from iaa_runtime.cli.keyboard.prompt import Prompt
prompt = Prompt(lambda line: [])
print(prompt.keys)
with ended_like_ctrl_c():
    while True:
        print("got", ascii(prompt.read("> ")))
"""
"""The prompt without a model behind it."""


@contextmanager
def prompting(project: Path, folder: Path, before: str = "") -> Iterator[Terminal]:
    """The prompt, in a folder."""
    command = [sys.executable, "-c", before + PROMPT]
    with terminal(command, {"PYTHONPATH": str(project)}, folder) as typed:
        typed.wait_for("> ")
        yield typed


def test_a_chat_from_its_first_key_to_its_last(
    model: str, photo: str, project: Path, state: Path, tmp_path: Path
) -> None:
    (tmp_path / "two words").mkdir()
    (tmp_path / "two words" / "図.jpg").write_bytes(Path(photo).read_bytes())
    (tmp_path / "old.jsonl").write_text("mine")
    command = [sys.executable, "-m", "iaa_runtime", "chat", "--model", model, *FEW]
    with terminal(command, {"PYTHONPATH": str(project)}, tmp_path) as chat:
        chat.wait_for("TAB completes")
        chat.wait_for("MM> ")
        chat.press(f"/im{TAB}two{TAB}")
        chat.wait_for("two words/")
        assert "two words/図.jpg: " in chat.enter(TAB, "MM> ")
        chat.press(f"図書館{LEFT}{BACKSPACE}")  # each is two columns wide
        chat.enter("", "MM> ")
        assert "[y/N] " in chat.enter("/save old.jsonl", "Replace it? [y/N] ")
        assert "(not saved)" in chat.enter("n", "MM> ")
        assert (tmp_path / "old.jsonl").read_text() == "mine"
        chat.enter("/save old.jsonl", "Replace it? [y/N] ")
        chat.enter("y", "MM> ")
        (turn,) = map(json.loads, (tmp_path / "old.jsonl").read_text(encoding="utf-8").splitlines())
        assert (turn["image"], turn["text"]) == (str(tmp_path / "two words" / "図.jpg"), "図館")
        assert "kept" not in chat.enter("/clear", "MM> "), "it was saved"
        chat.enter("and this?", "MM> ")
        assert "kept, this one in" in chat.enter("/clear", "MM> ")
        chat.enter("this, too?", "MM> ")
        chat.press("/quit\r")
        assert chat.end() == 0
    assert "kept, this one in" in chat.shown[chat.shown.rindex("this, too?") :]
    kept = [json.loads(file.read_text(encoding="utf-8"))["text"] for file in sorted(state.glob("unsaved-*"))]
    assert kept == ["and this?", "this, too?"]


def test_a_chat_that_forgets_leaves_nothing(model: str, project: Path, state: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "iaa_runtime", "chat", "--task", "Text", "--forget", "--model", model, *FEW]
    with terminal(command, {"PYTHONPATH": str(project)}, tmp_path) as chat:
        chat.wait_for("Text> ")
        chat.enter("a secret", "Text> ")
        assert "a secret" in chat.enter(UP, "Text> "), "within the chat, lines come back"
        chat.press("/quit\r")
        assert chat.end() == 0
    assert "kept" not in chat.shown
    assert not state.exists() or not list(state.iterdir())


def test_ctrl_c_clears_the_line_and_a_second_leaves(project: Path, tmp_path: Path) -> None:
    with prompting(project, tmp_path) as typed:
        typed.press("abc")
        typed.wait_for("abc")
        assert "leaves" in typed.interrupt("> ")
        typed.press("def")
        typed.wait_for("def")
        assert "leaves" in typed.interrupt("> "), "the line was not empty"
        assert typed.enter("ghi", "> ").endswith("got 'ghi'\r\n> ")
        typed.interrupt("> ")
        typed.interrupt("EOFError")


def test_lines_of_earlier_chats_come_back(project: Path, tmp_path: Path) -> None:
    for press, got in (("première 図", "première 図"), (UP, "première 図"), ("two", "two"), (UP + UP, "première 図")):
        with prompting(project, tmp_path) as typed:
            assert f"got {got!a}" in typed.enter(press, "> ")
            typed.press(CTRL_D)
            typed.end()


def test_several_lines_that_are_pasted_are_one_message(project: Path, tmp_path: Path) -> None:
    with prompting(project, tmp_path) as typed:
        typed.press("\x1b[200~one\ntwo\x1b[201~")
        assert r"got 'one\ntwo'" in typed.enter("", "\r\n> ")


def test_sigterm_leaves_the_terminal_as_it_was(project: Path, tmp_path: Path) -> None:
    with prompting(project, tmp_path) as typed:
        assert not typed.echoes()
        typed.settle()
        typed.process.send_signal(signal.SIGTERM)
        typed.end()
        assert typed.echoes()


def test_a_python_without_readline_says_so(project: Path, tmp_path: Path) -> None:
    with prompting(project, tmp_path, "import sys; sys.modules['readline'] = None") as typed:
        assert "has no readline" in typed.shown
        assert "got 'abc'" in typed.enter("abc", "> ")
        assert "leaves" in typed.interrupt("> ")
        typed.interrupt("EOFError")


def test_what_tab_offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.PNG", "c.txt", ".hidden.png", "\x1b[2J.png"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert completions("/") == ["/clear", "/format ", "/help", "/image ", "/quit", "/save ", "/task "]
    assert completions("/s") == ["/save "]
    assert completions("/task t") == ["/task Text"]
    assert completions("/image ") == ["/image a.png", "/image b.PNG", "/image more/"]
    assert completions("/image .") == ["/image .hidden.png"]
    assert completions("/save c") == ["/save c.txt"]
    assert completions("/image ~/m") == ["/image ~/more/"]
    assert completions("/image none/") == completions("/image \0/") == completions("/task x") == completions("a") == []


def test_history_is_bounded_and_private(state: Path) -> None:
    history = History()
    for number in range(LINES + 5):
        history.add(f"line {number}\nof two")
    history.add("x" * (LONGEST + 1))
    (file,) = state.iterdir()
    with file.open("ab") as more:
        more.write(b"[" * 5000 + b"\n[1]\n\xff\n")
    assert History().lines() == [f"line {number}\nof two" for number in range(8, LINES + 5)]
    assert len(file.read_bytes().splitlines()) == LINES
    assert state.stat().st_mode & 0o777 == 0o700 and file.stat().st_mode & 0o777 == 0o600


def test_of_unsaved_chats_the_latest_are_kept(state: Path) -> None:
    kept = [keep_unsaved([{"text": str(number)}]) for number in range(CHATS + 2)]
    assert sorted(state.iterdir()) == kept[2:]
    assert kept[-1].stat().st_mode & 0o777 == 0o600
