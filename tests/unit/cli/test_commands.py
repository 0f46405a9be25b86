"""The command line: what goes to stdout, what to stderr, and with which exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import BOX, FEW, records, run_module
from make_checkpoint import make_checkpoint
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.cli import COMMANDS, main
from iaa_runtime.cli.output import size_text
from iaa_runtime.config import Task
from iaa_runtime.model.devices import pick_device
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.text.printable import printable


def test_ground_prints_one_json_line_an_image(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "small.png"
    Image.new("RGB", (40, 70), "red").save(other)
    phrases = ("--phrase", "red panda", "--phrase", "branch", "--phrase", "red panda")
    assert main(["ground", "--model", model, "--image", photo, "--image", str(other), *phrases, "--json", *BOX]) == 0
    first, second = records(capsys)
    assert (first["image"], second["image"]) == (photo, str(other))
    for record, size in ((first, Image.open(photo).size), (second, (40, 70))):
        assert set(record) == {"image", "phrases", "detections"} and record["phrases"] == ["red panda", "branch"]
        labels = [d["label"] for d in record["detections"]]
        assert set(labels) == {"red panda", "branch"} and labels == sorted(labels, reverse=True), "each once, in order"
        for d in record["detections"]:
            assert set(d) == {"x", "y", "width", "height", "label", "score"}
            assert all(type(d[name]) is int for name in ("x", "y", "width", "height"))
            assert 0 <= d["x"] < d["x"] + d["width"] <= size[0]
            assert 0 <= d["y"] < d["y"] + d["height"] <= size[1]
            assert 0 <= d["score"] <= 1


def test_ground_writes_pictures(model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw, mask, crops = tmp_path / "new" / "drawn.png", tmp_path / "mask.png", tmp_path / "crops"
    files = ("--draw", str(draw), "--mask", str(mask), "--crops", str(crops))
    command = ["ground", "--model", model, "--image", photo, "--phrase", "the red panda!", "--one", "--json"]
    assert main([*command, *files, *BOX]) == 0
    (record,) = records(capsys)
    (found,) = record["detections"]
    with Image.open(photo) as original, Image.open(draw) as drawn, Image.open(mask) as masked:
        assert drawn.size == masked.size == original.size
        assert drawn.convert("RGB").tobytes() != original.convert("RGB").tobytes()
        box = (found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"])
        assert masked.convert("L").getbbox() == box
    (crop,) = crops.iterdir()
    assert "red-panda" in crop.name
    with Image.open(crop) as cut:
        assert cut.size == (found["width"], found["height"])


def test_crops_of_long_names_have_names_that_disks_allow(model: str, photo: str, tmp_path: Path) -> None:
    crops, phrase = tmp_path / "crops", "图" * 60
    for letter in ("图", "x"):
        named = tmp_path / f"{letter * (240 // len(letter.encode()))}.jpg"
        named.write_bytes(Path(photo).read_bytes())
        command = ["ground", "--model", model, str(named), "--phrase", phrase, "--phrase", "cat", "--threshold", "0"]
        assert main([*command, "--one", "--crops", str(crops), *BOX]) == 0
        begins = [name[: name.rindex("-")] for name in sorted(os.listdir(crops)) if name.startswith(letter)]
        assert [begin[-2:] for begin in begins] == ["-1", "-2"] and begins[0][:-2] == begins[1][:-2]
        assert main([*command, "--one", "--crops", str(crops), *BOX]) == 1, "what is there is found before the work"


def test_several_images_get_pictures_of_their_own(model: str, photo: str, tmp_path: Path) -> None:
    command = ["ground", "--model", model, "--image", photo, "--image", photo, "--phrase", "a", *BOX]
    assert main([*command, "--draw", str(tmp_path / "out.png")]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out-1.png", "out-2.png"]


def test_a_threshold_drops_boxes(model: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ground", "--model", model, "--image", photo, "--phrase", "a", "--threshold", "1"]
    assert main([*command, "--json", *BOX]) == 0
    assert records(capsys) == [{"image": photo, "phrases": ["a"], "detections": []}]
    assert main([*command, *BOX]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_a_checkpoint_may_say_which_scores_are_too_low(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless the threshold is given, for ground and annotate alike, and for Python."""
    strict = tmp_path / "strict"
    shutil.copytree(model, strict)
    config = json.loads((strict / "config.json").read_text())
    (strict / "config.json").write_text(json.dumps(config | {"score_threshold": 1}))
    assert IAAPipeline.from_pretrained(strict).ground(photo, "a", max_new_tokens=40) == [[]]
    for number, (choice, some) in enumerate([((), False), (("--threshold", "0"), True)]):
        out = tmp_path / str(number)
        options = [photo, "--model", str(strict), "--phrase", "a", *choice, *BOX]
        assert main(["ground", "--json", "--image", *options]) == 0
        found = records(capsys)
        assert main(["annotate", "--out", str(out), *options]) == 0
        capsys.readouterr()
        found += [
            json.loads(line) for shard in sorted(out.glob("shard-*.jsonl")) for line in shard.read_text().splitlines()
        ]
        assert [bool(record["detections"]) for record in found] == [some, some]


def test_raw_shows_what_the_model_says(model: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ground", "--model", model, "--image", photo, "--phrase", "a", "--raw", "--json", *FEW]) == 0
    (record,) = records(capsys)
    assert [answer["phrase"] for answer in record["answers"]] == ["a"]


def test_a_threshold_drops_boxes_of_raw_answers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the demo model, whose raw answers are boxes; of a checkpoint that says which scores are too low, its own."""
    draw_scene(make_scene(26)).save(tmp_path / "scene.png")
    raw = ["ground", "--image", str(tmp_path / "scene.png"), "--phrase", "the leftmost shape", "--raw", "--json"]
    counts = []
    for least, choice in ((0, ()), (0, ("--threshold", "1")), (1, ()), (1, ("--threshold", "0"))):
        monkeypatch.setattr(IAAPipeline, "score_threshold", least)
        assert main([*raw, *choice]) == 0
        (record,) = records(capsys)
        assert record["answers"][0]["text"].startswith("[")
        counts.append(len(record["detections"]))
    assert counts == [1, 0, 0, 1]


def test_caption(model: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["caption", "--model", model, "--image", photo, "--image", photo, "--json", "--max-new-tokens", "12"]) == 0
    )
    first, second = records(capsys)
    assert first == second == {"image": photo, "caption": first["caption"]}
    assert main(["caption", "--model", model, "--image", photo, "--max-new-tokens", "12"]) == 0
    assert capsys.readouterr().out.strip() == printable(first["caption"])
    assert (
        main(["caption", "--model", model, "--image", photo, "--preset", "tags", "--json", "--max-new-tokens", "12"])
        == 0
    )
    assert records(capsys)[0]["caption"] != first["caption"]


def test_text_streams_what_json_prints(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["text", "--model", model, "--prompt", "Hello", *FEW]
    assert main([*command, "--json"]) == 0
    (record,) = records(capsys)
    assert set(record) == {"prompt", "text"}
    assert main(command) == 0
    assert capsys.readouterr().out == record["text"] + "\n"


def test_generation_options_reach_the_model(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sample", "--temperature", "5", "--top-k", "50", "--top-p", "0.99", "--min-p", "0.0001"]
    said = []
    for extra in (["--seed", "1"], ["--seed", "1"], ["--seed", "2"]):
        assert main(["text", "--model", model, "--prompt", "Hello", "--json", *FEW, *options, *extra]) == 0
        said += records(capsys)
    assert said[0] == said[1] != said[2]
    for extra in (
        ["--beams", "2"],
        ["--repetition-penalty", "1.5"],
        ["--stop", "a", "--stop", "b"],
        ["--dtype", "bf16"],
    ):
        assert main(["text", "--model", model, "--prompt", "Hello", "--json", *FEW, *extra]) == 0
        assert len(records(capsys)) == 1


def test_a_bad_image_among_good_ones(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    missing = str(tmp_path / "missing.png")
    images = ["--image", missing, "--image", str(bad), "--image", photo]
    question = ["--question", "Is it?", "--choice", "yes", "--choice", "no"]
    for command in (["caption", *BOX], ["ground", "--phrase", "a", *BOX], ["label"], ["choose", *question]):
        assert main([*command, "--model", model, *images, "--json"]) == 1
        captured = capsys.readouterr()
        lines = [json.loads(line) for line in captured.out.splitlines()]
        errors = {line["image"]: line["error"] for line in lines if "error" in line}
        assert set(errors) == {missing, str(bad)} and len(lines) == 3
        assert [line["image"] for line in lines if "error" not in line] == [photo]
        assert all(f"iaa {command[0]}: {error}\n" in captured.err for error in errors.values())
        assert main([*command, "--model", model, *images]) == 1
        assert "missing.png" not in capsys.readouterr().out, "for people it stands on stderr alone"


@pytest.mark.skipif(sys.platform != "linux", reason="only there a file's name may be any bytes")
def test_patterns_that_the_shell_leaves_to_the_program(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.png", "c[1].png"):
        Image.new("RGB", (8, 8)).save(name)
    words = ["caption", "--model", model, "--json", *FEW, "--image", "[ab].png", "--image", "'c*.png'"]
    assert main([*words, "--image", "c[1].png"]) == 0
    assert [line["image"] for line in records(capsys)] == ["a.png", "b.png", "c[1].png", "c[1].png"]
    assert main(["caption", "--model", model, "--image", "x*.png"]) == 1
    assert "x*.png" in capsys.readouterr().err


def test_a_file_name_that_is_no_text(model: str, photo: str, tmp_path: Path, project: Path) -> None:
    strange = os.path.join(os.fsencode(tmp_path), b"b\xff.jpg")
    Path(os.fsdecode(strange)).write_bytes(Path(photo).read_bytes())
    done = run_module(project, ["caption", "--model", model, "--json", *FEW, "--image", os.fsdecode(strange)])
    assert done.returncode == 0, done.stderr
    assert os.fsencode(json.loads(done.stdout)["image"]) == strange


def test_info(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", model, "--json"]) == 0
    (about,) = records(capsys)
    assert about["missing"] == []
    assert about["config"]["num_hidden_layers"] == 4
    assert about["banks"]["text"]["parameters"] == 2 * 384 * 32 + 32
    assert about["banks"]["text"]["stored_bytes"] == 4 * about["banks"]["text"]["parameters"]
    assert {task: entry["blocks"] for task, entry in about["tasks"].items()} == {"MM": 7, "G": 7, "Text": 4}
    for name, task in about["tasks"].items():
        assert task["bytes"]["bf16"] == 2 * sum(about["banks"][b]["parameters"] for b in Task(name).banks)
        assert all(task["bytes"][form] < needed for form, needed in task["needed_bytes"].items())
    assert about["fits"].keys() == {"8", "12", "16", "24", "48"}
    assert about["fits"]["8"]["MM"][0] == "fp32"
    assert about["here"]["device"] == str(pick_device("auto")) and about["here"]["dtype"] in (
        "float32",
        "bfloat16",
        "float16",
    )
    assert main(["info", "--model", model]) == 0
    shown = capsys.readouterr().out
    assert "vocabulary 384" in shown
    assert all(bank in shown for bank in ("base", "text", "mm", "g", "vision"))
    both, tasks = about["both_needed_bytes"], about["tasks"]
    banks = about["banks"]
    assert both["bf16"] == tasks["MM"]["needed_bytes"]["bf16"] + 2 * banks["g"]["parameters"], "each bank once"
    assert f"MM and G {size_text(both['fp32']):>16} {size_text(both['bf16']):>10} " in shown


@pytest.mark.parametrize(("dtype", "told"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_info_heeds_the_environment(
    dtype: str, told: str, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IAA_DEVICE", "cpu")
    monkeypatch.setenv("IAA_DTYPE", dtype)
    assert main(["info", "--model", model]) == 0
    assert f"computes on cpu in {told} here" in capsys.readouterr().out
    assert main(["info", "--model", model, "--dtype", "fp16", "--json"]) == 0
    assert records(capsys)[0]["here"] == {"device": "cpu", "dtype": "float16"}, "an option says more"
    monkeypatch.setenv("IAA_DEVICE", "abacus")
    assert main(["info", "--model", model]) == 1 and "'abacus' cannot be used" in capsys.readouterr().err


def test_info_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", tower="none")
    assert main(["info", "--model", str(folder), "--json"]) == 1
    (about,) = records(capsys)
    assert about["vision"] is None
    assert len(about["missing"]) == 1 and "missing/clip" in about["missing"][0]


def test_info_says_that_a_tokenizer_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without which no command opens the folder."""
    folder = make_checkpoint(tmp_path / "checkpoint")
    assert main(["info", "--model", str(folder)]) == 0
    (folder / "tokenizer.json").write_text("{")
    assert main(["info", "--model", str(folder)]) == 1
    assert f"Missing: {folder / 'tokenizer.json'} is not valid JSON" in capsys.readouterr().out
    (folder / "tokenizer.json").unlink()
    assert main(["info", "--model", str(folder), "--json"]) == 1
    (missing,) = records(capsys)[0]["missing"]
    assert missing.startswith(f"There is no tokenizer.json in {folder}.")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["text"],
        ["caption", "--prompt", "a"],
        ["ground", "--image", "a.png"],
        ["ground", "--image", "a.png", "--phrase", " "],
        ["text", "--prompt", "a", "--beams", "0"],
        ["text", "--prompt", "a", "--temperature", "-1"],
        ["text", "--prompt", "a", "--max-new-tokens", "many"],
        ["text", "--prompt", "a", "--dtype", "fp8"],
        ["chat", "--task", "Q"],
        ["ground", "--image", "a.png", "--phrase", "a", "--threshold", "1.5"],
        ["ground", "--image", "a.png", "--phrase", "a", "--draw", "drawn.xyz"],
        ["info", "--bogus"],
    ],
    ids=" ".join,
)
def test_bad_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: iaa" in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text", "--prompt", "a", "--beams", "2", "--sample"], "Beam search and sampling"),
        (["ground", "--phrase", "a", "--image", "a.png", "--beams", "2"], "add --raw"),
        (["ground", "--phrase", "a", "--image", "a.png", "--draw", "sub/../a.png"], "over --image a.png"),
        (["ground", "--phrase", "a", "--image", "a.png", "--draw", "b.png", "--mask", "b.png"], "over --draw b.png"),
        (["ground", "--phrase", "a", "--image", "a-1.png", "--image", "b", "--mask", "a.png"], "over --image a-1.png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_arguments_that_clash_exit_with_2_before_any_work(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--model", "nowhere"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text", "--prompt", "a", "--model", "nowhere"], "nowhere"),
        (["text", "--prompt", "word " * 500], "context is 600"),
        (["text", "--prompt", "a", "--device", "abacus"], "'abacus' cannot be used"),
        (["chat", "--script", "none.jsonl"], "none.jsonl"),
        (["ground", "--image", "PHOTO", "--phrase", "a", "--max-new-tokens", "3"], "too few for a box"),
        (["text", "--prompt", "half \udcff"], "which is no character"),
        (["text", "--prompt", "a", "--model", ""], "no config.json"),
        (["info", "--model", ""], "no config.json"),
        (["export", "--task", "Text", "--to", "llama", "--out", "nowhere", "--model", ""], "no config.json"),
        (["annotate", "nowhere.png", "--phrase", "a", "--beams", "2", "--out", "nowhere"], "Beam search"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_fails_exits_with_1_and_says_why(
    model: str, photo: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    words = [photo if word == "PHOTO" else word for word in arguments]
    assert main(words if "--model" in words else [*words, "--model", model]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*([command] if command else []), "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ([command] if command else COMMANDS))


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_what_is_asked_first_does_not_wait_for_torch(word: str, project: Path) -> None:
    code = f"""
import sys
from iaa_runtime.cli import main
try:
    main([{word!r}])
finally:
    print({{"torch", "numpy", "transformers"}} & sys.modules.keys(), file=sys.stderr)
"""
    asked = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert (asked.returncode, asked.stderr) == (0, "set()\n")
    assert asked.stdout.startswith(("usage: iaa", "iaa-nodes"))


def test_interrupted(model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("iaa_runtime.pipeline.model.IAAModel.answer", interrupt)
    assert main(["text", "--model", model, "--prompt", "a"]) == 130


def test_the_module_is_the_command_on_the_reference_checkpoint(reference: Path, project: Path, photo: str) -> None:
    command = ["ground", "--model", str(reference / "checkpoint"), "--image", photo, "--phrase", "red panda", "--json"]
    done = run_module(project, [*command, *BOX])
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["detections"]
