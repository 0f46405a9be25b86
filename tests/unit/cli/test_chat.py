"""``iaa chat``: at a prompt and from a script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import FEW, pipe_in, records, run_module
from model_server import serving

from iaa_runtime.cli import main
from iaa_runtime.text.printable import printable
from iaa_runtime.text.prompts import grounding_question


def test_a_chat_of_five_interleaved_turns(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "talk.jsonl"
    tasks = ["MM", "G", "Text", "mm", None]
    turns = [{"task": task, "text": f"turn {n}"} if task else {"text": f"turn {n}"} for n, task in enumerate(tasks)]
    script.write_text("\n\n".join(map(json.dumps, turns)) + "\n")
    command = ["chat", "--model", model, "--image", photo, "--script", str(script), *FEW]
    assert main([*command, "--json"]) == 0
    said = records(capsys)
    assert [(turn["task"], turn["text"]) for turn in said] == [
        (task, f"turn {n}") for n, task in enumerate(["MM", "G", "Text", "MM", "MM"])
    ]
    assert ["detections" in turn for turn in said] == [False, True, False, False, False]
    assert all(isinstance(turn["answer"], str) for turn in said)
    assert main(command) == 0
    shown = capsys.readouterr().out
    for turn in said:
        assert printable(f"[{turn['task']}] {turn['text']}\n{turn['answer']}") in shown


def test_the_sentence_that_g_knows_is_told(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["chat", "--help"])
    assert grounding_question("the red panda") in " ".join(capsys.readouterr().out.split())
    pipe_in(monkeypatch, "/help")
    assert main(["chat", "--model", model]) == 0
    assert capsys.readouterr().err.count(grounding_question("the red panda")) == 2, "at the start and when asked for"


def test_a_saved_chat_can_be_run_again(
    model: str, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved.jsonl"
    first = ("/help", "/save", f"/save {saved}", "Hello", f"/image {photo}", "What is it?", "/task G", "", "Where?")
    pipe_in(monkeypatch, *first, "/bad", "/task X", "/image none.png", f"/save '{saved}'", "/clear", "/save x", "/quit")
    assert main(["chat", "--model", model, "--json", *FEW]) == 0
    captured = capsys.readouterr()
    said = [json.loads(line) for line in captured.out.splitlines()]
    assert [turn["task"] for turn in said] == ["MM", "MM", "G"]
    for complaint in ("no command /bad", "no task 'X'", "none.png", "Say where"):
        assert complaint in captured.err
    assert captured.err.count("Nothing has been said") == 2, "a chat that is empty, at first or again"
    assert [json.loads(line).get("image") for line in saved.read_text("utf-8").splitlines()] == [None, photo, None]
    assert main(["chat", "--model", model, "--script", str(saved), "--json", *FEW]) == 0
    assert records(capsys) == said


def test_a_chat_that_was_saved_before_it_was_cleared_stays(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved.jsonl"
    save = f"/save {saved}"
    pipe_in(monkeypatch, "/task Text", "one", save, "two", save, "/clear", "three", save, "/quit")
    assert main(["chat", "--model", model, *FEW]) == 0
    assert "saved.jsonl is there already" in capsys.readouterr().err
    assert [json.loads(line)["text"] for line in saved.read_text("utf-8").splitlines()] == ["one", "two"]


def test_words_are_held_to_a_format_and_boxes_to_their_own(
    model: str, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, schema = tmp_path / "saved.jsonl", tmp_path / "sides.json"
    schema.write_text(json.dumps({"enum": ["left", "right"]}))
    said = ("What is it?", "/format", "/format (a", f"/format '{schema}'", "Where?", "/task G", "Show it", "/task Text")
    pipe_in(monkeypatch, f"/image {photo}", *said, "Which side?", "/format off", "So?", f"/save {saved}", "/quit")
    command = ["chat", "--model", model, "--json", "--max-new-tokens", "12"]
    assert main([*command, "--format", "(yes|no)"]) == 0
    captured = capsys.readouterr()
    answers = [json.loads(line) for line in captured.out.splitlines()]
    assert [turn.get("format") for turn in answers] == ["(yes|no)", schema.read_text(), None, schema.read_text(), None]
    assert answers[0]["answer"] in ("yes", "no")
    assert {answers[1]["answer"], answers[3]["answer"]} <= {'"left"', '"right"'}
    assert "detections" in answers[2]
    assert "Say to what" in captured.err
    assert "cannot be held to this format" in captured.err
    assert main([*command, "--script", str(saved)]) == 0
    assert records(capsys) == answers
    (tmp_path / "object.jsonl").write_text(json.dumps({"task": "Text", "text": "Hi", "format": {"const": 7}}))
    assert main([*command, "--script", str(tmp_path / "object.jsonl")]) == 0
    assert records(capsys)[0]["answer"] == "7"


def test_a_script_may_hold_any_unicode_and_a_byte_order_mark(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, text = tmp_path / "talk.jsonl", "one\u2028two\x85three 🐼"
    line = json.dumps({"text": text, "task": "Text"}, ensure_ascii=False)
    script.write_text(line + "\r\n", encoding="utf-8-sig")
    assert main(["chat", "--model", model, "--script", str(script), "--json", *FEW]) == 0
    assert records(capsys)[0]["text"] == text


def test_what_is_saved_after_a_clear_shows_its_picture_again(
    model: str, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved.jsonl"
    pipe_in(monkeypatch, f"/image {photo}", "What is it?", "/clear", "And where?", "Why?", f"/save {saved}")
    assert main(["chat", "--model", model, "--json", *FEW]) == 0
    said = records(capsys)[1:]
    assert [json.loads(line).get("image") for line in saved.read_text("utf-8").splitlines()] == [photo, None]
    assert main(["chat", "--model", model, "--script", str(saved), "--json", *FEW]) == 0
    assert records(capsys) == said


def test_a_saved_chat_finds_its_pictures_from_anywhere(
    model: str, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(Path(photo).read_bytes())
    monkeypatch.chdir(tmp_path)
    pipe_in(monkeypatch, "What is it?", "/image 2.jpg", "And that?", f"/save {Path('there', 'saved.jsonl')}")
    assert main(["chat", "--model", model, "--image", "1.jpg", "--json", *FEW]) == 0
    said = records(capsys)
    monkeypatch.chdir("there")
    assert main(["chat", "--model", model, "--script", "saved.jsonl", "--json", *FEW]) == 0
    assert records(capsys) == said and len(said) == 2


def test_only_answers_stand_on_stdout_while_one_chats(model: str, project: Path) -> None:
    done = run_module(project, ["chat", "--model", model, "--task", "Text", "--json", *FEW], b"one\n\xff\ntwo\n")
    assert done.returncode == 0
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["one", "two"]
    assert b"Text> " in done.stderr
    assert b"no character" in done.stderr


def test_a_chat_out_of_a_pipe_ends_with_it_and_is_kept_nowhere(
    model: str, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe_in(monkeypatch, "/task Text", "hello")
    assert main(["chat", "--model", model, *FEW]) == 0
    assert not state.exists()


def test_turns_from_stdin_are_answered_as_they_come(model: str, project: Path) -> None:
    command = [sys.executable, "-m", "iaa_runtime", "chat", "--model", model, "--script", "-", "--json", *FEW]
    piped = subprocess.PIPE
    with subprocess.Popen(command, stdin=piped, stdout=piped, stderr=piped, cwd=project, text=True) as chat:
        assert chat.stdin and chat.stdout and chat.stderr
        for text in ("one", "two"):
            chat.stdin.write(json.dumps({"task": "Text", "text": text}) + "\n")
            chat.stdin.flush()
            assert json.loads(chat.stdout.readline())["text"] == text
        chat.stdin.write("three\n")
        chat.stdin.close()
        assert "stdin, line 3: not JSON" in chat.stderr.read()
    assert chat.returncode == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "line 2: not JSON"),
        ('{"task": "MM"}', 'line 2: needs a "text"'),
        ('{"text": "a", "task": "Q"}', "'Q'"),
        ('{"text": "a", "image": 5}', 'line 2: "image" is the path'),
        ('{"text": "a", "image": "none.png"}', "line 2: There is no image at none.png"),
        ('{"text": "a", "image": "talk.jsonl"}', "line 2: talk.jsonl "),
        ('{"text": "a", "format": 5}', "line 2: format is 5"),
        ('{"text": "a", "format": "(a"}', "line 2: Answers cannot be held to this format"),
    ],
)
def test_a_script_is_checked_before_anything_is_said(
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "talk.jsonl"
    script.write_text('{"text": "fine", "task": "Text"}\n' + line + "\n")
    assert main(["chat", "--model", model, "--script", str(script), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_what_a_later_line_of_a_script_cannot_have_is_found_before_anything_is_said(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A format beside beams, or a task without weights or a server, was found when its turn came."""
    script = tmp_path / "talk.jsonl"
    script.write_text('{"text": "fine", "task": "Text"}\n{"text": "a", "format": "yes|no"}\n')
    assert main(["chat", "--model", model, "--script", str(script), "--json", "--beams", "2", *FEW]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "line 2: An answer held to a format goes neither with beam search" in captured.err
    script.write_text('{"text": "fine", "task": "Text"}\n{"text": "a"}\n{"text": "b", "task": "G"}\n')
    with serving("iaa-text") as server:
        assert main(["chat", "--server", server.url, "--script", str(script), "--json"]) == 1
        assert not server.bodies
    captured = capsys.readouterr()
    assert captured.out == "" and "No server is known for task G" in captured.err
