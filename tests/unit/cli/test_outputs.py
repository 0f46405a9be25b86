"""What commands write: never over another file of the run, nor over what is there; devices, folders and links stay."""

from __future__ import annotations

import json
import os
import stat
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import BOX, FEW, pipe_in
from PIL import Image

from iaa_runtime.cli import main
from iaa_runtime.cli.outputs import Outputs
from iaa_runtime.errors import InputError, UsageError


def exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


def commands(tmp_path: Path) -> dict[str, Callable[[Path], list[str]]]:
    """The commands that write a file, each as words with the file's place in them, to fail before a model is opened."""
    picture = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(picture)
    (tmp_path / "a.jsonl").write_text("{}\n")
    ground = ["ground", "--model", "nowhere", "--image", str(picture), "--phrase", "a"]
    refcoco = ["eval", "refcoco", "--annotations", str(tmp_path / "a.jsonl")]
    return {
        "--draw": lambda file: [*ground, "--draw", str(file.with_suffix(".png"))],
        "--mask": lambda file: [*ground, "--mask", str(file.with_suffix(".png"))],
        "--coco": lambda file: [
            *["annotate", str(picture), "--caption", "--out", str(tmp_path / "job"), "--model", "nowhere"],
            *["--coco", str(file.with_suffix(".json"))],
        ],
        "eval --out": lambda file: [*refcoco, "--images", str(tmp_path), "--out", str(file)],
        "eval --report": lambda file: [*refcoco, "--predictions", str(tmp_path / "a.jsonl"), "--report", str(file)],
        "bench --out": lambda file: ["bench", "--size", "tiny", "--out", str(file)],
    }


OPTIONS = ["--draw", "--mask", "--coco", "eval --out", "eval --report", "bench --out"]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_file_that_is_there_is_kept_and_nothing_is_begun(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = commands(tmp_path)[option](tmp_path / "mine")
    mine = next(Path(word) for word in words if Path(word).stem == "mine")
    mine.write_text("mine")
    assert exit_code(words) == 1
    err = capsys.readouterr().err
    assert f"{mine} is there already" in err and "--overwrite" in err
    assert mine.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == sorted({mine, tmp_path / "photo.png", tmp_path / "a.jsonl"})


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", ["folder", "link to a file", "link to a device", "link to nothing", "pipe"])
def test_what_is_no_file_is_never_replaced(
    option: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*commands(tmp_path)[option](tmp_path / "mine"), "--overwrite"]
    mine = next(Path(word) for word in words if Path(word).stem == "mine")
    target = tmp_path / "target"
    if kind == "folder":
        mine.mkdir()
    elif kind == "pipe":
        os.mkfifo(mine)
    else:
        if kind == "link to a file":
            target.write_text("mine")
        mine.symlink_to(os.devnull if kind == "link to a device" else target)
    before = mine.lstat()
    assert exit_code(words) == 1
    assert "only files are replaced" in capsys.readouterr().err
    after = mine.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert not target.exists() or target.read_text() == "mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_device_stays_one() -> None:
    before = os.stat("/dev/full")
    with pytest.raises(InputError, match="is a device, and only files are replaced"):
        Outputs(Namespace(overwrite=True)).writes("--coco", Path("/dev/full"))
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode) and os.stat("/dev/full").st_rdev == before.st_rdev


def test_names_that_differ_in_case_or_by_a_link_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    outputs = Outputs(Namespace(overwrite=True, image=[str(tmp_path / "folder" / "A.png")]))
    for name in ("folder/a.PNG", "link/A.png", "link/../folder/A.png"):
        with pytest.raises(UsageError, match="over --image"):
            outputs.writes("--draw", tmp_path / name)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with files of many kinds, each of which some command reads."""
    for name in ("photo.png", "coco.json"):
        Image.new("RGB", (40, 30), "red").save(tmp_path / name, "png")
    (tmp_path / "list.jsonl").write_text(json.dumps({"image": "coco.json"}) + "\n")
    target = {"sent_id": 1, "expression": "a", "img_path": "photo.png", "bbox": [0, 0, 9, 9], "width": 40, "height": 30}
    (tmp_path / "a.jsonl").write_text(json.dumps(target) + "\n")
    (tmp_path / "p.jsonl").write_text(json.dumps({"question_id": 1, "prompt": "a", "text": "[0,0,1,1]"}) + "\n")
    lines = [f"photo.png\tIs it {colour}?\t{truth}" for colour, truth in (("red", "Yes"), ("blue", "No"))]
    for folder in ("results", "mme/OCR"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "results" / "OCR.txt").write_text("".join(f"{line}\tYes\n" for line in lines))
    (tmp_path / "mme" / "OCR" / "photo.txt").write_text("".join(line.partition("\t")[2] + "\n" for line in lines))
    Image.new("RGB", (40, 30), "red").save(tmp_path / "mme" / "OCR" / "photo.png")
    for folder in ("a.jsonl.parts", "model"):
        (tmp_path / folder).mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path


REFCOCO, MME = ["eval", "refcoco", "--annotations", "a.jsonl", "--images", "."], ["eval", "mme"]
SCORED, RUN = ["--results", "results", "--partial"], ["--data", "mme", "--out", "new"]
GROUND = ["ground", "--image", "photo.png", "--phrase", "a"]
ANNOTATE = ["annotate", "list.jsonl", "--caption", "--out", "job"]
OVER_INPUTS = [
    [*REFCOCO, "--out", "a.jsonl"],  # whose .parts are there
    [*REFCOCO, "--predictions", "p.jsonl", "--report", "photo.png"],
    [*REFCOCO, "--predictions", "p.jsonl", "--report", "P.jsonl"],
    [*REFCOCO, "--out", "new.jsonl", "--report", "new.jsonl"],
    [*REFCOCO, "--out", "new.jsonl", "--report", "photo.png"],
    [*MME, *SCORED, "--report", "results/OCR.txt"],
    [*MME, *SCORED, "--data", "mme", "--report", "mme/OCR/photo.png"],
    [*MME, *RUN, "--report", "mme/OCR/photo.txt"],
    [*MME, *RUN, "--report", "mme/OCR/photo.png"],
    [*MME, *RUN, "--report", "new/OCR.txt"],
    [*GROUND, "--draw", "PHOTO.png"],
    [*GROUND, "--draw", "o.png", "--mask", "O.png"],
    [*ANNOTATE, "--coco", "coco.json"],
    [*ANNOTATE, "--coco", "model/config.json", "--model", "model"],
    [*ANNOTATE, "--coco", "model/config.json", "--vision-tower", "model"],
    ["bench", "--size", "tiny", "--folder", "model", "--out", "model/config.json"],
]


@pytest.mark.parametrize("words", OVER_INPUTS, ids=" ".join)
def test_no_input_of_a_run_is_written_over(
    words: list[str], inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(inputs)
    before = {path: path.read_bytes() for path in inputs.rglob("*") if path.is_file()}
    assert exit_code([*words, "--overwrite"]) == 2
    assert " would write " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert not (inputs / "new").exists() and not (inputs / "new.jsonl").exists()


def test_outputs_that_meet_no_input_are_written_again(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(inputs)
    for words in ([*REFCOCO, "--predictions", "p.jsonl"], [*MME, *SCORED, "--data", "mme"]):
        for _ in range(2):
            assert main([*words, "--report", "results/page.html", "--overwrite"]) == 0
    assert "IAA on MME" in (inputs / "results" / "page.html").read_text(encoding="utf-8")


def test_ground_replaces_its_pictures_only_if_told(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "photo.png"
    Image.open(photo).resize((40, 30)).save(own)
    words = ["ground", "--model", model, "--image", str(own), "--phrase", "the bar", "--one", *BOX]
    words += ["--draw", str(tmp_path / "drawn.png"), "--crops", str(tmp_path)]
    assert main(words) == 0
    crop = tmp_path / "photo-1-the-bar.png"
    assert crop.is_file()
    crop.write_bytes(b"another picture")
    assert main(words) == 1
    (tmp_path / "drawn.png").unlink()
    assert main(words) == 1  # for the crop, before the work
    assert not (tmp_path / "drawn.png").exists()
    assert "photo-1-the-bar.png is there already" in capsys.readouterr().err
    assert crop.read_bytes() == b"another picture"
    assert main([*words, "--overwrite"]) == 0
    assert crop.read_bytes() != b"another picture"
    # A crop that would fall on a picture of the run.
    assert main([*words, "--overwrite", "--image", str(crop)]) == 0  # their names are numbered then
    both = ["ground", "--model", model, "--image", str(own), "--phrase", "the bar", "--one", *BOX, "--overwrite"]
    assert main([*both, "--crops", str(tmp_path), "--draw", str(crop)]) == 2
    assert "--crops would write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--draw", "a.psd"),  # is only read
        ("--draw", "a.xbm"),  # black and white alone
        ("--mask", "a.h5"),  # wants a program
        ("--mask", "a"),
        ("--crops", "crops.png"),
        ("--crops", __file__),
    ],
)
def test_endings_are_checked_before_the_model_is_opened(
    option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["ground", "--model", "nowhere", "--image", "a.png", "--phrase", "a", option, name]) == 2
    assert name in capsys.readouterr().err


def test_a_picture_too_long_for_its_format_is_named(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (17_000, 100)).save(tmp_path / "long.png")
    words = ["ground", "--model", model, "--image", str(tmp_path / "long.png"), "--phrase", "a", *BOX]
    assert main([*words, "--mask", str(tmp_path / "mask.webp")]) == 1
    assert "mask.webp cannot be written" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["long.png"]


def test_the_demo_keeps_pictures_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["demo", "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    assert main(words) == 0  # it writes the same
    assert main([*words, "--seed", "4"]) == 1
    assert "scene.png is there already" in capsys.readouterr().err
    assert main([*words, "--seed", "4", "--overwrite"]) == 0


def test_the_demo_does_not_write_where_its_picture_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "scene.png")
    before = (tmp_path / "scene.png").read_bytes()
    out = f"{tmp_path}/../{tmp_path.name}"
    assert main(["demo", "--image", str(tmp_path / "scene.png"), "--out", out, "--overwrite"]) == 2
    assert "Choose another --out" in capsys.readouterr().err
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("scene.png", before)]


def test_a_chat_is_saved_over_nothing_but_itself(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.jsonl").write_text("mine")
    Image.new("RGB", (30, 30)).save(tmp_path / "photo.png")
    saved = tmp_path / "new.jsonl"
    refused = (f"/save {tmp_path}/{name}" for name in ("old.jsonl", "photo.png", ""))
    pipe_in(monkeypatch, "hello", *refused, f"/save {saved}", "again", f"/save {saved}")
    assert main(["chat", "--model", model, "--image", str(tmp_path / "photo.png"), *FEW]) == 0
    err = capsys.readouterr().err
    assert "old.jsonl is there already" in err and "is a folder" in err and "over --image" in err
    assert (tmp_path / "old.jsonl").read_text() == "mine"
    assert len(saved.read_text(encoding="utf-8").splitlines()) == 2
    with Image.open(tmp_path / "photo.png") as picture:
        assert picture.size == (30, 30)
    pipe_in(monkeypatch, "hello", f"/save {saved}")
    assert main(["chat", "--model", model, *FEW]) == 0
    assert "new.jsonl is there already" in capsys.readouterr().err
    pipe_in(monkeypatch, "hello", f"/save {saved}")
    assert main(["chat", "--model", model, "--overwrite", *FEW]) == 0
    assert len(saved.read_text(encoding="utf-8").splitlines()) == 1


def test_coco_of_a_job_that_goes_on(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (30, 30)).save(tmp_path / "photo.png")
    coco = tmp_path / "coco.json"
    words = [
        "annotate",
        str(tmp_path / "photo.png"),
        "--caption",
        "--model",
        model,
        "--out",
        str(tmp_path / "job"),
        *FEW,
    ]
    assert main([*words, "--coco", str(coco)]) == 0
    written = coco.read_text()
    assert main([*words, "--coco", str(coco)]) == 0  # it was killed behind this, perhaps
    coco.write_text("mine")
    assert main([*words, "--coco", str(coco)]) == 1
    assert coco.read_text() == "mine"
    assert main([*words, "--coco", str(coco), "--overwrite"]) == 0
    assert coco.read_text() == written
    manifest = tmp_path / "job" / "manifest.json"
    before = manifest.read_bytes()
    assert main([*words, "--coco", str(manifest), "--overwrite"]) == 2
    assert "over the job's" in capsys.readouterr().err
    assert manifest.read_bytes() == before
    assert json.loads(written)["images"]
    with pytest.raises(SystemExit):
        main([*words, "--coco", str(tmp_path / "photo.png"), "--overwrite"])
