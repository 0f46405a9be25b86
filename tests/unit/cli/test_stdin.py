"""``-`` stands for standard input: a question, a picture, a list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import FEW, run_module

from iaa_runtime.cli import main


def printed(project: Path, words: list[str], typed: bytes) -> dict[str, str]:
    done = run_module(project, [*words, "--json", *FEW], typed)
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def test_a_question_and_a_picture(model: str, photo: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = "Où est le chat ?\nAnswer in two lines."
    assert printed(project, ["text", "--model", model, "--prompt", "-"], f"{question}\n".encode())["prompt"] == question
    piped = printed(project, ["caption", "-", "--model", model], Path(photo).read_bytes())
    assert main(["caption", photo, "--model", model, "--json", *FEW]) == 0
    assert json.loads(capsys.readouterr().out) == piped | {"image": photo}
    broken = run_module(project, ["caption", "-", "--model", model], b"no picture")
    assert broken.returncode == 1 and b"the picture from stdin is not an image" in broken.stderr


def test_a_text_that_a_windows_program_wrote_is_the_same_text(model: str, project: Path) -> None:
    typed = "One.\r\nTwo.\r\n".encode("utf-8-sig")
    assert printed(project, ["text", "--model", model, "--prompt", "-"], typed)["prompt"] == "One.\nTwo."
    done = run_module(
        project,
        ["chat", "--model", model, "--task", "MM", "--json", *FEW],
        "/task Text\r\nOne.\r\n".encode("utf-8-sig"),
    )
    assert json.loads(done.stdout).items() >= {"task": "Text", "text": "One."}.items(), done.stderr


@pytest.mark.parametrize(
    "typed", [b"b.jpg\r\na.png\n", b'{"image": "b.jpg"}\n{"image": "a.png"}\n'], ids=["names", "jsonl"]
)
def test_a_list(typed: bytes, photo: str, tmp_path: Path, project: Path) -> None:
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(Path(photo).read_bytes())
    words = ["annotate", "-", "--images", str(tmp_path), "--caption", "--out", str(tmp_path / "job"), "--dry-run"]
    done = run_module(project, [*words, "--json"], typed)
    assert json.loads(done.stdout)["images"] == 2, done.stderr


@pytest.mark.parametrize(
    "words", [["caption", "-", "--prompt", "-"], ["caption", "-", "-"], ["chat", "--image", "-"]], ids=" ".join
)
def test_it_is_read_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--model", "nowhere"]) == 2
    assert "usage: iaa" in capsys.readouterr().err
