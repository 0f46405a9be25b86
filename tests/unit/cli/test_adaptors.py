"""``--adaptor``: what is written, which commands take it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import BOX, FEW, records
from make_adaptor import random_adaptor, write_random
from make_checkpoint import make_checkpoint

from iaa_runtime import IAAPipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.cli import main
from iaa_runtime.cli.arguments.shared import parse_adaptor
from iaa_runtime.errors import InputError
from iaa_runtime.shapes.scenes import draw_scene, make_scene

HEART = "a:heart.safetensors"


@pytest.mark.parametrize(
    ("text", "file", "strength"),
    [
        ("cat.safetensors", "cat.safetensors", 1.0),
        ("cat.safetensors:0.5", "cat.safetensors", 0.5),
        ("cat.safetensors:-1", "cat.safetensors", -1.0),
        ("cat.safetensors:0", "cat.safetensors", 0.0),
        (r"C:\x:0.5", r"C:\x", 0.5),
        (r"C:\adaptors\cat.safetensors", r"C:\adaptors\cat.safetensors", 1.0),
        (r"C:\adaptors\cat.safetensors:2", r"C:\adaptors\cat.safetensors", 2.0),
        ("C:/adaptors/cat.safetensors:1e-1", "C:/adaptors/cat.safetensors", 0.1),
        (HEART, HEART, 1.0),
        (f"{HEART}:.5", HEART, 0.5),
        ("cat.safetensors:strong", "cat.safetensors:strong", 1.0),
        ("cat.safetensors:", "cat.safetensors:", 1.0),
    ],
)
def test_a_file_and_its_strength(text: str, file: str, strength: float) -> None:
    assert parse_adaptor(text) == (file, strength)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no file"),
        (":0.5", "names no file"),
        ("a:nan", "strength"),
        ("a:1e999", "strength"),
        ("a:0,5", "with a point: 0.5"),
    ],
)
def test_what_is_neither(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parse_adaptor(text)


def test_a_file_of_the_whole_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v:2").touch()
    assert parse_adaptor("v:2") == ("v:2", 1.0) and parse_adaptor("v:3") == ("v", 3.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    sizes = {"MM": 0.6, "G": 0.3}  # so large that answers change
    return {
        task: str(write_random(folder / f"{task}.safetensors", DEMO_CHECKPOINT, task, size=size))
        for task, size in sizes.items()
    }


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("scene") / "scene.png"
    draw_scene(make_scene(26)).save(file)
    return str(file)


def test_commands_answer_as_python_does(
    files: dict[str, str], scene: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = ("--dtype", "fp32", "--device", "cpu", "--json")
    plain = IAAPipeline.from_pretrained(dtype="fp32")
    g, mm = plain.adapted((files["G"], 0.5)), plain.adapted(files["MM"])
    phrase = "the leftmost shape"
    adaptor = ("--adaptor", f"{files['G']}:0.5")
    assert main(["ground", scene, "--phrase", phrase, "--threshold", "0", *exact, *adaptor, *BOX]) == 0
    found = records(capsys)[0]["detections"]
    expected, without = (
        [d.xyxy for d in p.ground(scene, [phrase], threshold=0, max_new_tokens=40)[0]] for p in (g, plain)
    )
    assert [(d["x"], d["y"], d["x"] + d["width"], d["y"] + d["height"]) for d in found] == expected != without
    adaptor = ("--adaptor", files["MM"])
    assert main(["caption", scene, *exact, *adaptor]) == 0
    said = records(capsys)[0]["caption"]
    assert said == mm.caption(scene)[0] != plain.caption(scene)[0]
    choices = ("--choice", "yes", "--choice", "no", "--question", "Is there a star?")
    assert main(["choose", scene, *choices, *exact, *adaptor]) == 0
    shares = list(records(capsys)[0]["probabilities"].values())
    assert shares == pytest.approx(mm.choose([scene], "Is there a star?", ["yes", "no"])[0].probabilities, abs=1e-5)
    script = tmp_path / "chat.jsonl"
    script.write_text(json.dumps({"task": "MM", "text": "Describe this image."}))
    assert main(["chat", "--image", scene, "--script", str(script), *exact, *adaptor, *FEW]) == 0
    assert records(capsys)[-1]["answer"] == mm.chat(scene).say("Describe this image.", max_new_tokens=4).reply.text
    both = ("--adaptor", files["MM"], "--adaptor", files["G"])
    assert main(["label", scene, "--threshold", "0", *exact, *both]) == 0
    assert main(["eval", "shapes", "--scenes", "1", *exact, *both]) == 0
    *_, report = records(capsys)
    assert report["origin"]["adaptors"].count(":1") == 2


def test_annotate_notes_it_down(
    files: dict[str, str], scene: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that was begun with an adaptor does not go on without it."""
    command = ["annotate", scene, "--caption", "--out", str(tmp_path / "job"), *FEW]
    adaptor = ["--adaptor", files["MM"]]
    assert main([*command, *adaptor]) == 0
    assert main([*command, *adaptor]) == 0
    for other in ([], ["--adaptor", f"{files['MM']}:0.5"]):
        capsys.readouterr()
        assert main([*command, *other]) == 1
        assert "adaptors" in capsys.readouterr().err


def ended(words: list[str]) -> int:
    """The exit code, however a command ends."""
    try:
        return main(words)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def test_what_is_refused(files: dict[str, str], scene: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_checkpoint(tmp_path / "other")
    base = random_adaptor(DEMO_CHECKPOINT, "MM").base
    for arguments, status, problem in (
        (["--adaptor", files["G"]], 1, "for task G, and what is asked here is MM"),
        (["--adaptor", str(tmp_path / "none.safetensors")], 1, "no adaptor file"),
        (["--adaptor", files["MM"], "--model", str(other)], 1, base),
        (["--adaptor", f"{files['MM']}:inf"], 2, "no strength"),
        (["--adaptor", files["MM"], "--server", "http://127.0.0.1:1"], 2, "--adaptor has no effect beside --server"),
    ):
        capsys.readouterr()
        assert ended(["caption", scene, *arguments]) == status
        assert problem in capsys.readouterr().err
    assert ended(["text", "--prompt", "Hello", "--adaptor", files["MM"]]) == 2
    drawn = files["G"].replace(".safetensors", ".png")
    Path(files["G"]).rename(drawn)
    try:
        command = ["ground", scene, "--phrase", "it", "--adaptor", drawn, "--draw", drawn, "--overwrite"]
        assert ended(command) == 2
        assert "would write" in capsys.readouterr().err
    finally:
        Path(drawn).rename(files["G"])
