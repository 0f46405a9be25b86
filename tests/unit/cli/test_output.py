"""What commands print: nothing by others steers the terminal, and JSON is JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import records, run_module
from make_checkpoint import make_checkpoint
from model_server import ModelServer, refuses, says, serving, streams
from PIL import Image

from iaa_runtime.cli import main
from iaa_runtime.cli.output import TokenCounter, print_json
from iaa_runtime.jobs.progress import Progress
from iaa_runtime.text.printable import StatusLine, guarded

STEERING = "\x1b]0;owned\x07\x1b[2J\x9b8mgone\rback\x08\x7f\u202e."


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving("iaa-mm", "iaa-g", "iaa-text") as started:
        yield started


def assert_harmless(shown: str) -> None:
    assert [c for c in shown if not (c.isprintable() or c in "\n\t")] == []


def test_an_answer_does_not_steer_the_terminal(server: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.behaves(says(*STEERING))
    command = ["text", "--prompt", "hi", "--server", server.url]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert_harmless(shown)
    assert shown.startswith(r"\u001b]0;owned\u0007\u001b[2J\u009b8mgone\u000dback"), "it is told, not hidden"
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr().out
    assert_harmless(printed)
    assert STEERING in json.loads(printed).values(), "JSON says what came, to the letter"


def test_nor_does_it_in_a_process_of_its_own(server: ModelServer, tmp_path: Path) -> None:
    server.behaves(says(*STEERING))
    done = run_module(Path(__file__).parents[3], ["text", "--prompt", "hi", "--server", server.url])
    assert done.returncode == 0, done.stderr
    assert_harmless(done.stdout.decode().replace("\r\n", "\n"))
    assert b"owned" in done.stdout


def test_a_chat_does_not_either(server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.behaves(says(*STEERING))
    (tmp_path / "script.jsonl").write_text(json.dumps({"task": "Text", "text": STEERING}))
    assert main(["chat", "--script", str(tmp_path / "script.jsonl"), "--server", server.url]) == 0
    shown = capsys.readouterr().out
    assert_harmless(shown)
    assert shown.count("owned") == 2


def test_boxes_with_a_phrase_do_not_either(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    server.behaves(says("[0,0,1,1]; ", *STEERING))
    command = ["ground", "--image", str(tmp_path / "a.png"), "--phrase", STEERING, "--server", server.url]
    for words in (command, [*command, "--raw"], [*command, "--raw", "--json"]):
        assert main(words) == 0
        assert_harmless(capsys.readouterr().out)


def test_what_a_server_says_of_a_failure_does_not(server: ModelServer, capsys: pytest.CaptureFixture[str]) -> None:
    for behaviour in (
        refuses(400, json.dumps({"error": {"message": STEERING}})),
        streams({"choices": [{"delta": {}, "finish_reason": STEERING}]}),
    ):
        server.behaves(behaviour)
        assert main(["text", "--prompt", "hi", "--server", server.url]) == 1
        shown = capsys.readouterr().err
        assert_harmless(shown)
        assert "owned" in shown
    server.models = [STEERING, "x-g"]
    assert main(["text", "--prompt", "hi", "--server", server.url]) == 1
    assert_harmless(capsys.readouterr().err)


def test_names_in_a_checkpoint_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoint"
    make_checkpoint(folder)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text()) if index.exists() else {"weight_map": {}}
    content["weight_map"][STEERING] = f"{STEERING}.safetensors"
    index.write_text(json.dumps(content))
    assert main(["info", "--model", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert_harmless(out + err)
    assert "owned" in out + err


def test_arguments_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["text", "--prompt", "hi", "--beams", STEERING])
    shown = capsys.readouterr().err
    assert_harmless(shown)
    assert main(["caption", "--image", f"{STEERING}.png"]) != 0
    shown += capsys.readouterr().err
    assert_harmless(shown)
    assert shown.count("owned") == 2


class Terminal(io.StringIO):
    """What a terminal is sent."""

    def isatty(self) -> bool:
        return True


def test_progress_still_goes_back_to_the_start_of_its_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "iaa_runtime")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", guarded(terminal))
    counter = TokenCounter("a\x1b[2J.png")
    counter(0, 0)
    counter.clear()
    shown = "a\\u001b[2J.png: 1 tokens"
    assert terminal.getvalue() == f"\r{shown}\r{' ' * len(shown)}\r"
    progress = Progress(2)
    progress.finish(2)
    assert terminal.getvalue().count("\r") == 5
    assert "\033" not in terminal.getvalue(), "which old consoles show as it is"


def test_a_line_that_is_drawn_anew_covers_the_longer_one_before() -> None:
    terminal = Terminal()
    line = StatusLine(guarded(terminal))
    for text in ("图片.png", "b", "long"):
        line.show(text)
    assert terminal.getvalue() == "\r图片.png\rb       \rlong"


def test_numbers_that_json_has_none_for_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("nan"), {"b": (float("inf"), -float("inf"), 0.5)}], "c": 1})
    assert records(capsys) == [{"a": [None, {"b": [None, None, 0.5]}], "c": 1}]
