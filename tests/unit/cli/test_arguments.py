"""Arguments: quick to explain, complained of with the command's own usage, and never without effect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iaa_runtime.cli import COMMANDS, main, make_parser
from iaa_runtime.cli.annotate import FORMATS
from iaa_runtime.export import FORMATS as STOCK
from iaa_runtime.export.gguf import TYPES
from iaa_runtime.pipeline.remote import Timeouts


def exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


WITHOUT_TORCH = """
import sys
from iaa_runtime.cli import main
for command in {commands}:
    for words in ([command, "--help"], [command, "--bogus"], ["eval", "mme", "--help"]):
        try:
            main(words)
        except SystemExit:
            pass
print(sorted({{"torch", "numpy", "transformers"}} & sys.modules.keys()), file=sys.stderr)
"""


def test_help_and_complaints_of_every_command_do_without_torch(project: Path) -> None:
    code = WITHOUT_TORCH.format(commands=list(COMMANDS))
    asked = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert asked.stderr.splitlines()[-1] == "[]"
    assert all(f"usage: iaa {command}" in asked.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "words", [["caption", "a.png"], ["eval", "mme", "--results", "x"], ["annotate", "."]], ids=" ".join
)
def test_an_unknown_option_is_the_commands_own_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([*words, "--out", "x", "--bogus"] if words[0] == "annotate" else [*words, "--bogus"]) == 2
    command = " ".join(words[:2] if words[0] == "eval" else words[:1])
    err = capsys.readouterr().err
    assert f"usage: iaa {command} " in err and "unrecognized arguments: --bogus" in err


GROUND, ANNOTATE = ["ground", "a.png", "--phrase", "a"], ["annotate", ".", "--out", "job", "--caption"]
REFCOCO, MME = ["eval", "refcoco", "--annotations", "a"], ["eval", "mme"]
SERVED = ["text", "--prompt", "a", "--server", "http://localhost:1"]
WITHOUT_EFFECT = [
    *(["text", "--prompt", "a", option, "0.5"] for option in ("--temperature", "--top-p", "--min-p")),
    *(["text", "--prompt", "a", option, "5"] for option in ("--top-k", "--seed", "--server-timeout")),
    ["text", "--prompt", "a", "--download"],
    ["info", "--download"],
    ["convert", "--precision", "int4", "--out", "x", "--download"],
    ["export", "--task", "G", "--to", "llava", "--out", "x", "--download"],
    ["caption", "a.png", "--prompt", "a", "--preset", "tags"],
    ["caption", "a.png", "--quiet", "--verbose"],
    *([*SERVED, *more] for more in (["--model", "x"], ["--device", "cpu"], ["--dtype", "fp32"])),
    *([*SERVED, *more] for more in (["--precision", "int4"], ["--vision-tower", "x"], ["--download"])),
    [*GROUND, "--overwrite"],
    [*GROUND, "--raw", "--one"],
    ["chat", "--script", "a.jsonl", "--overwrite"],
    ["annotate", ".", "--out", "job", "--boxes"],
    *([*ANNOTATE, *more] for more in (["--threshold", "0.5"], ["--one"], ["--images", "x"], ["--column", "x"])),
    [*ANNOTATE, "--prompt", "a", "--preset", "tags"],
    [*ANNOTATE, "--overwrite"],
    ["annotate", ".", "--out", "job", "--phrase", "a", "--sidecars"],
    *([*REFCOCO, "--predictions", "p", *more] for more in (["--grammar"], ["--batch", "3"], ["--model", "x"])),
    *([*REFCOCO, "--predictions", "p", *more] for more in (["--overwrite"], ["--images", "x"], ["--beams", "2"])),
    *([*MME, "--results", "x", *more] for more in (["--batch", "3"], ["--data", "x"], ["--questions", "x"])),
    [*MME, "--results", "x", "--data", "x", "--images", "x", "--report", "r"],
    [*MME, "--data", "x", "--out", "x", "--partial"],
    ["bench", "--overwrite"],
    ["bench", "--peer", "none", "--peer", "eager"],
    ["bench", "--only", "load", "--peer", "eager"],
    ["bench", "--only", "load", "--precision", "int4", "--precision", "int8"],
]


@pytest.mark.parametrize("words", WITHOUT_EFFECT, ids=" ".join)
def test_what_has_no_effect_is_an_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(words) == 2
    err = capsys.readouterr().err
    assert f"usage: iaa {words[0]}" in err
    assert any(reason in err for reason in ("no effect", "not allowed with", "there is none", "Leave it out"))


@pytest.mark.parametrize("words", [["--download", "--model", "x"], ["--sample", "--seed", "5"]], ids=" ".join)
def test_what_has_an_effect_is_none(words: list[str]) -> None:
    make_parser().parse_args(["text", "--prompt", "a", *words])


AT_HOME = [
    [*GROUND, "--draw=~/a.png", "--mask=~/b.png", "--crops=~/c", "--model=~/m", "--vision-tower=~/t"],
    ["ground", "~/a.png", "--image=~/b.png", "--phrase", "a"],
    [*ANNOTATE[:2], "--out=~/job", "--caption", "--coco=~/a.json", "--page=~/a.html", "--imagefolder=~/i"],
    ["eval", "refcoco", "--annotations=~/a", "--images=~/i", "--out=~/o", "--report=~/r"],
    ["teach", "~/data", "--images=~/i", "--task", "MM", "--out=~/a.safetensors"],
    ["bench", "--out=~/a.json", "--folder=~/f"],
    ["caption", "a.png", "--adaptor=~/it.safetensors:0.5", "--boxes=~/b.json"],
]


@pytest.mark.parametrize("words", AT_HOME, ids=lambda words: words[0])
def test_a_home_folder_that_no_shell_puts_there(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a sign of equality."""
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, os.path.abspath("somebody"))
    read = str(vars(make_parser().parse_args(words)))
    assert read.count("somebody") == "".join(words).count("~") and "~" not in read


def test_what_is_called_like_the_home_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "a.png").touch()
    options = make_parser().parse_args(["caption", "~/a.png", "--prompt=~/a", "--stop", "~"])
    assert (options.image, options.prompt, options.stop) == (["~/a.png"], "~/a", ["~"])


def test_pictures_are_words_and_the_old_option_works_too() -> None:
    words = ["caption", "a.png", "--json", "b.png", "c.png", "--image", "d.png"]
    assert make_parser().parse_args(words).image == ["a.png", "d.png", "b.png", "c.png"]
    assert make_parser().parse_args(["ground", "--phrase", "a", "b.png", "c.png"]).image == ["b.png", "c.png"]
    words = ["annotate", "a", "--out", "job", "b", "--caption", "c"]
    assert make_parser().parse_args(words).source == ["a", "b", "c"]


def test_the_environment_names_what_is_always_the_same(
    monkeypatch: pytest.MonkeyPatch, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"MODEL": "nowhere", "DEVICE": "cpu", "DTYPE": "fp32", "PRECISION": "int8"}.items():
        monkeypatch.setenv(f"IAA_{name}", value)
    options = make_parser().parse_args(["text", "--prompt", "a"])
    assert (options.model, options.device, options.dtype, options.precision) == ("nowhere", "cpu", "fp32", "int8")
    make_parser().parse_args(["text", "--prompt", "a", "--server", "http://localhost:1"])  # which it does not forbid
    assert main(["info"]) == 1
    assert "no checkpoint at nowhere" in capsys.readouterr().err
    assert main(["info", "--model", model]) == 0, "an option says more"
    monkeypatch.setenv("IAA_MODEL", "")  # as a compose file sets what nobody gave
    assert make_parser().parse_args(["text", "--prompt", "a"]).model is None
    monkeypatch.setenv("IAA_DTYPE", "fp9")
    assert exit_code(["text", "--prompt", "a"]) == 2
    assert "'fp9' (from IAA_DTYPE) is none of auto, fp32" in capsys.readouterr().err


def test_a_missing_picture_is_told_before_the_model_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["caption"], ["ground", "--phrase", "a"]):
        assert main([*command, str(tmp_path / "missing.png"), str(tmp_path), "--model", "nowhere"]) == 1
        err = capsys.readouterr().err
        assert "missing.png" in err and "is a folder" in err and "no checkpoint" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["annotate", "missing", "--caption", "--out", "job"], "nothing at missing"),
        (["annotate", "list.jsonl", "--images", "missing", "--caption", "--out", "job"], "no folder missing"),
        (["annotate", ".", "--caption", "--out", "full"], "no job of ours"),
        (["annotate", ".", "--caption", "--out", "list.jsonl"], "cannot be used"),
        (["chat", "--image", "missing.png"], "no image at missing.png"),
        (["eval", "refcoco", "--annotations", "a.jsonl", "--images", "full", "--out", "p"], "are not in full"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_paths_are_checked_before_the_model_is_opened(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "list.jsonl").write_text('{"image": "a.png"}\n')
    target = '{"sent_id": 1, "expression": "a", "img_path": "b", "bbox": [0, 0, 1, 1], "width": 9, "height": 9}\n'
    (tmp_path / "a.jsonl").write_text(target)
    assert main([*words, "--model", "nowhere"]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_may_not_be_written_is_found_before_the_work(tmp_path: Path, project: Path) -> None:
    tmp_path.chmod(0o555)
    code = f"""
import os
from pathlib import Path
from iaa_runtime.jobs.files import check_output
if os.geteuid() == 0:
    os.setuid(65534)
check_output(Path({str(tmp_path / "new.json")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert "cannot be written (Permission denied)" in done.stderr


def test_a_wrong_device_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--device", "abacus", "--out", str(tmp_path / "out")]) == 1
    assert "'abacus' cannot be used" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_help_promises_is_so() -> None:
    assert "default 120)" in make_parser().parse_args(["text", "--prompt", "a"]).parser.format_help()
    assert Timeouts().silence == 120
    for known in FORMATS:
        make_parser().parse_args(["annotate", ".", "--caption", "--out", "job", "--format", known])
    for known in STOCK.values():
        make_parser().parse_args(["export", "--task", "G", "--out", "x", "--to", known])
    for known in TYPES:
        make_parser().parse_args(["export", "--task", "G", "--out", "x", "--to", "gguf", "--type", known])


def test_a_shell_completes_commands_options_and_values(project: Path) -> None:
    pytest.importorskip("argcomplete")
    for line, wanted in (
        ("iaa ca", "caption"),
        ("iaa caption --pre", "--preset"),
        ("iaa caption --preset d", "detailed"),
    ):
        environment = os.environ | {
            "_ARGCOMPLETE": "1",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "PYTHONPATH": str(project),
        }
        read, write = os.pipe()
        with os.fdopen(read, "rb") as answer:
            command = f"{sys.executable} -m iaa_runtime 8>&{write} 9>&2"
            subprocess.run(["bash", "-c", command], env=environment, pass_fds=[write], check=True)
            os.close(write)
            assert wanted in answer.read().decode().replace("\v", "\n").split()
