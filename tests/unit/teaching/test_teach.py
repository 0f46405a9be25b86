"""Teaching on the demo model: it learns, what is off stays as it was, and a killed run ends in the same file."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from iaa_runtime.adaptors.file import read_adaptor
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.cli import main
from iaa_runtime.config import Task
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.errors import Cancelled, InputError
from iaa_runtime.model.linear.quantized import QuantizedLinear
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.teaching.batches import Ran, run_rows
from iaa_runtime.teaching.examples import Example, by_picture
from iaa_runtime.teaching.frozen import KINDS, open_frozen
from iaa_runtime.teaching.kept import load_lessons
from iaa_runtime.teaching.lesson import box_overlaps
from iaa_runtime.teaching.lessons import Lessons, Row, write_lessons
from iaa_runtime.teaching.loop import SLACK, Files, HeldOut, Schedule, Watch, train
from iaa_runtime.teaching.teach import teach
from iaa_runtime.teaching.updates import LowRankUpdates


def mascots(count: int, first: int = 5_000) -> list[Example]:
    """Pictures of one shape, which is called the mascot."""
    scenes = [make_scene(seed, shapes=1, long_side=120) for seed in range(first, first + count)]
    return [Example(draw_scene(scene), "the mascot", (scene.shapes[0].box,)) for scene in scenes]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few views and answers, so that a run takes seconds."""
    monkeypatch.setattr("iaa_runtime.teaching.teach.VIEWS_OF_ONE", 3)
    monkeypatch.setattr("iaa_runtime.teaching.teach.REPLAYED", 32)
    monkeypatch.setattr("iaa_runtime.teaching.teach.REPORT_EVERY", 5)


def test_rows_in_a_tree_are_what_the_model_computes() -> None:
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    lessons = write_lessons(pipeline, Task.G, by_picture(mascots(2)), 2, 0)
    rows = [row for rows in lessons.taught for row in rows]
    stack = pipeline.model.stack(Task.G)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        ran = run_rows(stack, lessons, rows, pipeline.model.project)
    logits, at = ran.logits, 0
    for row in ran.rows:
        ids = torch.tensor([[*lessons.head, *row.prompt, *row.answer[:-1]]])
        image = pipeline.model.project(lessons.features[[row.view]], Task.G)
        embedded = stack.embed(ids)
        whole = torch.cat((embedded[:, : len(lessons.head)], image, embedded[:, len(lessons.head) :]), 1)
        with torch.no_grad():
            expected = stack.logits(stack.hidden(whole))[0, -len(row.answer) :]
        found = logits[at : at + len(row.answer)]
        at += len(row.answer)
        assert (found - expected).abs().max() < 0.15 * expected.abs().max()  # products may be of bfloat16
        assert torch.equal(found[1].topk(1).indices, expected[1].topk(1).indices)


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("precision", [None, "int8", "int4"])
def test_gradients_flow_through_frozen_weights(precision: str | None, checkpointed: bool) -> None:
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", precision)
    lessons = write_lessons(pipeline, Task.G, by_picture(mascots(2)), 1, 0)
    rows = [row for rows in lessons.taught for row in rows]
    for bank in ("base", "g", "vision"):
        pipeline.model.bank(bank).requires_grad_(False)  # type: ignore[arg-type]
    updates = LowRankUpdates(pipeline.model.config, Task.G, 2, 2.0, 0, torch.device("cpu"))
    stack = updates.stack(pipeline.model)
    ran = run_rows(stack, lessons, rows, pipeline.model.project, checkpointed=checkpointed)
    ran.logits.logsumexp(-1).mean().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in updates.b.parameters() if p.grad is not None)
    assert sum(p.grad is not None for p in updates.b.parameters()) == len(updates.names)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantized_product_has_the_gradient_of_its_dequantized_weight(precision: str) -> None:
    kind = KINDS[precision].matrix
    assert kind is not None and issubclass(kind, QuantizedLinear)
    torch.manual_seed(0)
    weight, scale = kind.quantize(torch.randn(48, 64))
    x = torch.randn(5, 64, requires_grad=True)
    kind.product(x, weight, scale).square().sum().backward()
    plain = x.detach().clone().requires_grad_()
    torch.nn.functional.linear(plain, kind.dequantize(weight, scale, torch.float32)).square().sum().backward()
    assert x.grad is not None and plain.grad is not None
    torch.testing.assert_close(x.grad, plain.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("small")
def test_a_run_writes_its_files_and_changes_nothing_else(tmp_path: Path) -> None:
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    picture = draw_scene(make_scene(7))
    before = pipeline.ground(picture, ["the leftmost shape"]), pipeline.text("What is 2 plus 3?")
    out = tmp_path / "mascot.safetensors"
    taught = teach(pipeline, mascots(6), TeachSettings(steps=20, batch=2, rank=4), out)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mascot.before-after.png",
        "mascot.curve.jsonl",
        "mascot.curve.png",
        "mascot.safetensors",
    ]
    for name in ("mascot.before-after.png", "mascot.curve.png"):
        with Image.open(tmp_path / name, formats=["PNG"]) as image:
            assert min(image.size) > 100
    lines = [json.loads(line) for line in (tmp_path / "mascot.curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20] and all("held_out" in line for line in lines)
    read = read_adaptor(out)
    assert (read.task, read.rank, read.phrases) == (Task.G, 4, ("the mascot",))
    assert read.scores["after"]["count"] == 1 and read.training["pictures"] == 5
    best = max(lines, key=lambda line: line["held_out_iou"])  # one picture is held out
    near = 1 - lines[-1]["held_out_iou"] < (1 - best["held_out_iou"]) * (1 + SLACK)
    assert taught.best == (20 if near else best["step"])
    assert before == (pipeline.ground(picture, ["the leftmost shape"]), pipeline.text("What is 2 plus 3?"))


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        (([3.0, 4.0], [2.0, 3.0], [2.5, 3.6]), 2),  # both pictures say so, and by about as much
        (([3.0, 4.0], [2.0, 3.0], [1.8, 3.9]), 3),  # they do not agree
        (([2.0, 3.0], [2.0, 3.1], [1.9, 3.0]), 3),
        (([3.0], [2.0], [2.2]), 2),
        (([3.0], [2.0], [2.05]), 3),
        (([math.nan, 1.0], [2.0, 3.0], [math.nan, 1.0]), 2),
        (([3.0], [2.0], [math.nan]), 2),
    ],
)
def test_the_last_state_is_kept_unless_another_is_clearly_better(
    tmp_path: Path, losses: tuple[list[float], ...], kept: int
) -> None:
    module, left = torch.nn.Linear(2, 1), list(losses)
    watch = Watch(report_every=1, held_out=lambda: HeldOut(left.pop(0), {}))
    files = Files(tmp_path / "state.pt", tmp_path / "curve.jsonl", "it")
    states = []

    def loss_of(step: int, rng: object) -> tuple[torch.Tensor, dict[str, float]]:
        states.append(module.weight.detach().clone())
        return module(torch.ones(1, 2)).square().sum(), {}

    progress = train(module, loss_of, Schedule(3, None, 0.1, warmup=1), files, watch)
    states.append(module.weight.detach())
    assert progress.best_step == kept and progress.best is not None
    assert torch.equal(progress.best["weight"], states[kept])


def test_states_are_judged_by_their_boxes_and_not_by_how_sure_they_are() -> None:
    numbers = torch.arange(1000) + 50
    true, said = (100, 200, 500, 600), (100, 200, 500, 400)
    rows = [
        Row(0, (1, 2), (7, *(value + 50 for value in true), 8)),
        Row(1, (1, 2), (7, *(value + 50 for value in true), 8), absent=True),
        Row(2, (1, 2), (7, *(value + 50 for value in true), 8, 9)),
    ]
    lessons = Lessons(Task.G, (), torch.zeros(3, 4, 2), [[row] for row in rows], {}, numbers)
    for sure in (0.1, 100.0):
        logits = torch.zeros(sum(len(row.answer) for row in rows), 1050)
        for at, value in zip((*range(1, 5), *range(13, 17)), said + true, strict=True):
            logits[at, value + 50] = sure
        logits[:, 3] = 1000.0  # words count for nothing
        assert box_overlaps(Ran([rows[:2], rows[2:]], 1, 0, 4, logits), lessons) == pytest.approx([0.5, 1.0])
    assert box_overlaps(Ran([rows], 1, 0, 4, logits), replace(lessons, numbers=None)) == []


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_lies_where_an_unfinished_run_goes_stays(tmp_path: Path, kind: str, overwrite: bool) -> None:
    parts, mine = tmp_path / "cat.safetensors.parts", tmp_path / "mine"
    mine.mkdir()
    (mine / "settings.json").write_text("{}")
    if kind == "folder":
        parts.mkdir()
        (parts / "thesis.txt").write_text("mine")
    elif kind == "file":
        parts.write_text("mine")
    else:
        parts.symlink_to(mine, target_is_directory=True)
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    with pytest.raises(InputError, match="no unfinished run"):
        teach(pipeline, mascots(4), TeachSettings(steps=2), tmp_path / "cat.safetensors", overwrite=overwrite)
    assert kind != "folder" or [path.name for path in parts.iterdir()] == ["thesis.txt"]
    assert [path.name for path in mine.iterdir()] == ["settings.json"]


@pytest.mark.usefixtures("small")
def test_what_somebody_put_beside_an_unfinished_run_stays(tmp_path: Path) -> None:
    parts = tmp_path / "cat.safetensors.parts"

    def put(what: str, done: int, total: int) -> None:
        (parts / "notes.txt").write_text("mine")
        (parts / ".state.pt.1-ab.part").write_text("torn")

    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    settings = TeachSettings(steps=2, batch=2, rank=2)
    teach(pipeline, mascots(4), settings, tmp_path / "cat.safetensors", on_progress=put)
    assert [path.name for path in parts.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "value"), [("seed", -1), ("seed", 10**30), ("rank", 0), ("hold_out", 0.95), ("steps", 0), ("rate", 0)]
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^{name} is "):
        TeachSettings(**{name: value})  # type: ignore[arg-type]


class Reached:
    """Hears of progress, and says whether so many of something were done."""

    def __init__(self, what: str, count: int) -> None:
        self._what, self._count, self._reached = what, count, False

    def __call__(self, what: str, done: int, total: int) -> None:
        self._reached |= what == self._what and done >= self._count

    def asked(self) -> bool:
        return self._reached


@pytest.mark.usefixtures("small")
def test_a_run_that_was_cancelled_ends_as_if_unbroken(tmp_path: Path) -> None:
    settings, files = TeachSettings(steps=16, batch=2, rank=2), [tmp_path / f"{n}.safetensors" for n in range(2)]
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    examples = mascots(5)
    teach(pipeline, examples, settings, files[0])
    for what, count in (("views, learned", 3), ("views asked about, held out", 1), ("steps", 3), ("steps", 9)):
        note = Reached(what, count)
        with pytest.raises(Cancelled):
            teach(pipeline, examples, settings, files[1], on_progress=note, cancelled=note.asked)
    with pytest.raises(InputError, match="unfinished run with other steps"):
        teach(pipeline, examples, TeachSettings(steps=17, batch=2, rank=2), files[1])
    teach(pipeline, examples, settings, files[1])
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.usefixtures("small")
def test_a_damaged_part_of_an_unfinished_run_is_named(tmp_path: Path) -> None:
    settings, file = TeachSettings(steps=8, batch=2, rank=2), tmp_path / "a.safetensors"
    pipeline, note = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), Reached("steps", 2)
    with pytest.raises(Cancelled):
        teach(pipeline, mascots(5), settings, file, on_progress=note, cancelled=note.asked)
    parts = tmp_path / "a.safetensors.parts"
    for name in ("state.pt", "lessons.pt"):
        (parts / name).write_bytes(b"PK")
        with pytest.raises(InputError, match=rf"{name} is damaged, .*Remove {parts} to begin anew"):
            teach(pipeline, mascots(5), settings, file)
        assert (parts / name).read_bytes() == b"PK" and not file.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"[" * 999, pickle.dumps([], 2), pickle.dumps({"taught": 5}, 2)])
def test_lessons_that_are_none_are_damaged_ones(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lessons.pt").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_lessons(tmp_path / "lessons.pt")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("content", ["[]", "[" * 9999, "{", "5"])
def test_settings_that_are_none_are_those_of_another_run(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.safetensors"
    (tmp_path / "a.safetensors.parts").mkdir()
    (tmp_path / "a.safetensors.parts" / "settings.json").write_text(content)
    with pytest.raises(InputError, match="unfinished run with other"):
        teach(open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), mascots(5), TeachSettings(steps=1), file)


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_file(tmp_path: Path) -> None:
    rows = []
    for number, example in enumerate(mascots(6)):
        assert isinstance(example.image, Image.Image)
        example.image.save(tmp_path / f"{number}.png")
        x1, y1, x2, y2 = example.boxes[0]
        rows.append({"sent_id": number, "expression": "the mascot", "img_path": f"{number}.png"})
        rows[-1] |= {"bbox": [x1, y1, x2, y2], "width": example.image.width, "height": example.image.height}
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [sys.executable, "-m", "iaa_runtime", "teach", str(data), "--task", "G", "--steps", "60", "--batch", "2"]
    words += ["--device", "cpu", "--dtype", "fp32", "--rank", "2", "--quiet"]
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    subprocess.run([*words, "--out", str(whole)], check=True)
    state = tmp_path / "broken.safetensors.parts" / "state.pt"
    process = subprocess.Popen([*words, "--out", str(broken)])
    while not state.exists() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not broken.exists()
    subprocess.run([*words, "--out", str(broken)], check=True)
    assert whole.read_bytes() == broken.read_bytes()


def test_wrong_data_is_a_sentence_that_names_the_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    row = {"sent_id": 3, "expression": "cat", "img_path": "a.png", "bbox": [5, 5, 50, 20], "width": 40, "height": 30}
    (tmp_path / "d.jsonl").write_text(json.dumps(row))
    out = tmp_path / "cat.safetensors"
    assert main(["teach", str(tmp_path / "d.jsonl"), "--task", "G", "--out", str(out), "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "d.jsonl, sent_id 3: the box from (5, 5) to (50, 20) reaches outside of its picture of 40 x 30" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "d.jsonl"]
