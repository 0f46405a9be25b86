"""However a command ends, it ends in a sentence: unexpected failures, too little memory, signals, odd input."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import FEW, pipe_in, run_module
from PIL import Image

from iaa_runtime.cli import main
from iaa_runtime.cli.failures import Terminated, ended_like_ctrl_c, explain

PATIENCE = 120
"""Seconds for what takes a few on an idle machine."""


def exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


# What nothing else explains ------------------------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in which something happens that nobody expected."""

    def fail(*_: object, **__: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("iaa_runtime.pipeline.model.IAAModel.answer", fail)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_unexpected_failure_is_a_sentence_and_a_traceback_for_those_who_ask(
    place: int, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["text", "--model", model, "--prompt", "a"]
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("iaa text: KeyError: 'surprise'. ") and "--debug" in line
    assert main([*words[:place], "--debug", *words[place:]]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1] == line


@pytest.mark.usefixtures("broken")
def test_a_chat_outlives_a_turn_that_fails(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe_in(monkeypatch, "hello", "/quit")
    assert main(["chat", "--model", model]) == 0
    assert "KeyError: 'surprise'" in capsys.readouterr().err


def test_a_failing_file_is_named() -> None:
    error = PermissionError(13, "Permission denied", "/somewhere/a.png")
    assert explain(error) == "/somewhere/a.png: Permission denied. Check the name, the permissions and the free space."


@pytest.mark.parametrize(
    "words",
    [["caption", "--image", "{}"], ["text", "--prompt", "a", "--model", "{}"], ["eval", "mme", "--results", "{}"]],
)
def test_a_path_that_is_too_long_for_windows(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("iaa_runtime.cli.failures._LONGEST_PATH", 259)
    for folder, message in ((tmp_path.joinpath(*["x" * 100] * 3), True), (tmp_path / "x", False)):
        assert main([word.format(folder) for word in words]) == 1
        assert ("switch on Windows' long paths" in capsys.readouterr().err) == message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(("where", "code"), [("> /dev/full", 1), (">&-", 0), ("| true", 1)])
def test_a_stdout_that_takes_nothing(where: str, code: int, model: str, project: Path) -> None:
    command = f"sleep 1; '{sys.executable}' -m iaa_runtime info --model '{model}'"
    shell = f"{command} {where}" if where[0] == ">" else f"({command}; echo $? >&3) 3>&2 {where}"
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environment, timeout=PATIENCE)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if where[0] == ">":
        assert done.returncode == code
        assert ("No space left" in done.stderr) == (code == 1)
    else:
        assert done.stderr == f"{code}\n"


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="a device of Linux that refuses writing as Windows' pipes do")
def test_a_closed_pipe_of_windows(model: str, project: Path) -> None:
    with select.epoll() as closed:
        done = subprocess.run(
            [sys.executable, "-m", "iaa_runtime", "info", "--model", model],
            stdout=closed.fileno(),
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(project)},
        )
    assert (done.returncode, done.stderr) == (1, b"")


def hear_signals() -> None:
    """In a new process: what runs these tests may ignore Ctrl-C, as a job in the background, or hanging up (nohup)."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


# Memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
    ids=["python", "cuda", "cpu", "mps"],
)
def test_too_little_memory_says_what_to_lower(error: Exception) -> None:
    options = argparse.Namespace(batch=8, precision="full", max_new_tokens=None)
    said = explain(error, options)
    assert "\n" not in said and "memory is not enough" in said
    assert "--batch, --precision int8 or int4, fewer --max-new-tokens; or" in said
    assert "--beams" not in said


def test_a_real_allocation_that_fails(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("iaa_runtime.pipeline.model.IAAModel.answer", lambda *_, **__: torch.empty(1 << 60))
    assert main(["text", "--model", model, "--prompt", "a"]) == 1
    err = capsys.readouterr().err
    assert "memory is not enough" in err and "--precision int8 or int4" in err


def test_a_picture_that_memory_has_no_room_for_is_not_called_damaged(
    model: str, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    assert main(["annotate", photo, "--caption", "--out", str(tmp_path / "out"), "--model", model]) == 1
    err = capsys.readouterr().err
    assert f"memory is not enough (for the picture {photo})" in err and "a smaller --batch" in err
    assert not list((tmp_path / "out").glob("shard-*"))


# Signals -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there are no such signals elsewhere")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_signals_end_a_command_alike_and_it_tidies_up(number: int, tmp_path: Path, project: Path) -> None:
    for name in range(4000):
        Image.new("RGB", (8, 8), (name % 256, 0, 0)).save(tmp_path / f"{name}.png")
    words = [
        "annotate",
        str(tmp_path),
        "--caption",
        "--shard-size",
        "4",
        "--batch",
        "4",
        "--out",
        str(tmp_path / "out"),
    ]
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "iaa_runtime", *words, *FEW]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, preexec_fn=hear_signals
    ) as process:
        deadline = time.monotonic() + PATIENCE
        while not list((tmp_path / "out").glob("shard-*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.decode().endswith("\nInterrupted.\n") and "Traceback" not in err.decode() and out == b""
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals elsewhere")
def test_a_chat_that_is_asked_to_end_ends_in_mid_turn(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe_in(monkeypatch, "hello")
    monkeypatch.setattr(
        "iaa_runtime.pipeline.model.IAAModel.answer", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert main(["chat", "--model", model]) == 130
    assert capsys.readouterr().err.endswith("\nInterrupted.\n")


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C as a signal")
@pytest.mark.parametrize("module", ["iaa_runtime.cli", "iaa_runtime.cli.failures", "iaa_runtime.cli.info", "torch.nn"])
def test_ctrl_c_while_the_program_is_imported_shows_no_traceback(module: str, project: Path) -> None:
    code = f"""
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell that starts us in the background ignores
class Finder:
    def find_spec(name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
sys.argv[1:] = ["info"]
runpy.run_module("iaa_runtime", run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) in [(130, "", ""), (130, "", "Interrupted.")]


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ended_like_ctrl_c():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(Terminated), ended_like_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


# Odd input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["info", "--model", "~nobody-of-this-name"],
        ["info", "--model", "x" * 5000],
        ["info", "--model", "a\0b"],
        ["info", "--vision-tower", "~nobody-of-this-name/x"],
        ["export", "--task", "Text", "--to", "llama", "--out", "x" * 300],
        ["convert", "--precision", "int8", "--out", "a\0b"],
        ["caption", "--image", "a\0b"],
        ["caption", "--image", "x" * 5000],
        ["ground", "--image", "a.png", "--phrase", "a", "--draw", "x" * 300 + ".png"],
        ["annotate", "x" * 5000, "--caption", "--out", "OUT"],
        ["annotate", "a\0b", "--caption", "--out", "OUT"],
        ["annotate", ".", "--caption", "--out", "x" * 300],
        ["chat", "--script", "x" * 300],
        ["chat", "--script", "a\0b.jsonl"],
        ["eval", "mme", "--results", "x" * 300],
        ["eval", "mme", "--data", "x" * 300, "--out", "OUT"],
        ["eval", "refcoco", "--annotations", "a\0b", "--predictions", "x"],
        ["bench", "--out", "x" * 300],
        ["demo", "--image", "a\0b"],
        ["text", "--prompt", "a", "--seed", "1" + "0" * 400],
        ["text", "--prompt", "a", "--max-new-tokens", "1" + "0" * 400],
        ["text", "--prompt", "a", "--temperature", "1" + "0" * 400],
        ["text", "--prompt", "a", "--beams", "1" + "0" * 400],
        ["text", "--prompt", "a", "--device", "cuda:99999999999999999999"],
    ],
    ids=lambda words: " ".join(words)[:40].replace("\0", "NUL"),
)
def test_odd_arguments_end_in_a_sentence(
    words: list[str], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    opens = words[0] in ("text", "caption", "annotate", "chat", "export", "convert")
    code = exit_code([*words, *(["--model", model] if opens else [])])
    err = capsys.readouterr().err
    assert code in (1, 2)
    assert "did not expect" not in err and "Traceback" not in err
    assert len(err.encode(errors="backslashreplace")) < 12_000
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--beams", "100000"),
        ("--server-timeout", "nan"),
        ("--server-timeout", "inf"),
        ("--server-timeout", "-1"),
        ("annotate --batch", "100000000"),
        ("annotate --shard-size", "1000000000000"),
        ("eval shapes --scenes", "1000000000000"),
        ("bench --batch", "1000000000"),
        ("bench --new-tokens", "1000000000"),
        ("bench --repeats", "1000000000"),
        ("bench --threads", "1000000000"),
        ("bench --seed", "1" + "0" * 400),
    ],
)
def test_counts_are_bounded_before_any_work(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *command, name = option.split()
    words = {
        "annotate": ["annotate", str(tmp_path), "--caption", "--out", str(tmp_path / "out"), "--model", "nowhere"],
        "eval": ["eval", "shapes", "--model", "nowhere"],
        "bench": ["bench", "--size", "tiny"],
    }.get(command[0] if command else "", ["text", "--prompt", "a", "--model", "nowhere"])
    start = time.monotonic()
    assert exit_code([*words, name, value]) in (1, 2)
    err = capsys.readouterr().err
    assert name.strip("-") in err.replace("num_beams", "beams") and "nowhere" not in err.partition("error:")[2]
    assert "did not expect" not in err
    assert time.monotonic() - start < 30
    assert list(tmp_path.iterdir()) == []


ODD_LINES = [
    b"[" * 100_000,
    b'{"a": ' + b"[" * 100_000,
    b'{"a": 1' + b"0" * 5000 + b"}",
    b"\xff\xfe",
    b"\0" * 100,
    b"null",
    b"{}",
    b'{"text": "\\ud800"}',
    b'{"text": "a", "task": [[]]}',
    b'{"text": "a", "image": "a\\u0000b"}',
    b'{"text": "a", "image": "\\ud800"}',
    b'{"image": "\\ud800"}',
    b'{"image": "a.png", "phrases": ["\\ud800"]}',
    b'{"image": "a.png", "id": "\\ud800"}',
    b'{"image": "a.png", "id": 1e400}',
    b'{"image": ""}',
    b'{"sent_id": 1, "expression": "a", "img_path": "b", "bbox": [0, 0, 1, 1], "width": 1'
    + b"0" * 400
    + b', "height": 1}',
    b'{"sent_id": 1, "expression": "a", "img_path": "b", "bbox": [0, 0, 1'
    + b"0" * 400
    + b', 1], "width": 1, "height": 1}',
    b'{"sent_id": 1, "expression": "a", "img_path": "b", "bbox": [0, 0, 1e400, NaN], "width": 1, "height": 1}',
    b'{"sent_id": 1, "expression": "\\ud800", "img_path": "b", "bbox": [0, 0, 1, 1], "width": 1, "height": 1}',
    b'{"sent_id": [], "expression": "a", "img_path": "b", "bbox": [0, 0, 1, 1], "width": 1, "height": 1}',
    b'{"sent_id": 1, "expression": "a", "img_path": "'
    + b"x" * 300
    + b'", "bbox": [0, 0, 1, 1], "width": 1, "height": 1}',
    b'{"image": "a\\u0000b", "text": "a", "category": "OCR"}',
    b'{"image": "' + b"x" * 300 + b'", "text": "a", "category": "OCR"}',
    b'{"image": "a", "text": "a", "category": {"OCR": 1}}',
]


@pytest.mark.parametrize("line", ODD_LINES, ids=range(len(ODD_LINES)))
@pytest.mark.parametrize("reader", ["chat", "annotate", "refcoco", "mme"])
def test_odd_lines_end_in_a_sentence(
    reader: str, line: bytes, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "odd.jsonl"
    odd.write_bytes(line + b"\n")
    words = {
        "chat": ["chat", "--script", str(odd)],
        "annotate": ["annotate", str(odd), "--boxes", "--out", str(tmp_path / "out")],
        "refcoco": [
            "eval",
            "refcoco",
            "--annotations",
            str(odd),
            "--images",
            str(tmp_path),
            "--out",
            str(tmp_path / "p"),
        ],
        "mme": ["eval", "mme", "--questions", str(odd), "--images", str(tmp_path), "--out", str(tmp_path / "p")],
    }[reader]
    code = exit_code([*words, "--model", model, *FEW])
    captured = capsys.readouterr()
    assert "did not expect" not in captured.err
    if code == 0:  # a list whose picture cannot be opened: the record says so
        assert reader == "annotate" and "1 failed" in captured.out
    else:
        assert code == 1 and captured.out == ""


def test_odd_result_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"", b"\n\n", b"\xff", b"a\tb\tYes\n", b"a\tb\tmaybe\tYes\n", b"\0" * 99):
        (tmp_path / "OCR.txt").write_bytes(content)
        assert main(["eval", "mme", "--results", str(tmp_path), "--partial"]) == 1
        assert "did not expect" not in capsys.readouterr().err
    (tmp_path / "OCR.txt").unlink()
    os.mkfifo(tmp_path / "OCR.txt")
    assert main(["eval", "mme", "--results", str(tmp_path), "--partial"]) == 1
    assert "lacks 14 of 14 categories" in capsys.readouterr().err


def test_a_record_of_an_odd_list_stays_json(model: str, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text(json.dumps({"image": "a\x1b\u202eb.png", "id": "\u202e"}) + "\n")
    words = ["annotate", str(tmp_path / "list.jsonl"), "--caption", "--out", str(tmp_path / "out"), "--model", model]
    assert main([*words, *FEW]) == 1, "its only picture failed"
    (line,) = (tmp_path / "out" / "shard-000000.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["image"] == "a\x1b\u202eb.png" and "error" in json.loads(line)
    assert "\x1b" not in line and "\u202e" not in line


def test_the_whole_program_says_it_too(model: str, project: Path) -> None:
    done = run_module(project, ["info", "--model", "~nobody-of-this-name"])
    assert done.returncode == 1
    assert done.stderr.startswith(b"iaa info: --model '~nobody-of-this-name' is no path")
