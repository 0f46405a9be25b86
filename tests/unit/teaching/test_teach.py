"""Teaching on the demo model: it learns, what is off stays as it was, and a killed run ends in the same file."""

from __future__ import annotations

import json
import math
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.adaptors.file import read_adaptor
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.cli import main
from iaa_runtime.config import Task
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.errors import Cancelled, ContextLengthError, InputError
from iaa_runtime.model.linear.quantized import QuantizedLinear
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.teaching import batches
from iaa_runtime.teaching.batches import Ran, run_rows
from iaa_runtime.teaching.examples import Example, by_picture
from iaa_runtime.teaching.files import LONGEST_NAME, RunFiles, write_state
from iaa_runtime.teaching.frozen import KINDS, dtype_to_teach, open_frozen
from iaa_runtime.teaching.kept import load_lessons
from iaa_runtime.teaching.lessons import Lessons, Row, write_lessons
from iaa_runtime.teaching.loop import SLACK, Files, HeldOut, Schedule, Watch, train
from iaa_runtime.teaching.losses import Memory
from iaa_runtime.teaching.objective import Objective, box_overlaps
from iaa_runtime.teaching.pages import draw_curve
from iaa_runtime.teaching.results import taught_before
from iaa_runtime.teaching.teach import REPLAYED_A_VIEW, TAUGHT_A_VIEW, asked_of, teach
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


@pytest.mark.usefixtures("small")
def test_what_was_taught_before_is_known_by_its_adaptor_alone(tmp_path: Path) -> None:
    pipeline, file = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), tmp_path / "mascot.safetensors"
    examples, settings = mascots(4), TeachSettings(steps=2, batch=1, rank=1)
    taught = teach(pipeline, examples, settings, file)
    files = RunFiles(file)
    files.curve_png.unlink()
    files.sheet.unlink()
    again = taught_before(pipeline, examples, settings, file)
    assert again is not None and again.sheet is None and again.after == taught.after
    assert again.curve.tobytes() == taught.curve.tobytes()
    for damaged in (files.curve_png, files.sheet):
        damaged.touch()
    again = taught_before(pipeline, examples, settings, file)
    assert again is not None and again.sheet is None and again.curve.tobytes() == taught.curve.tobytes()
    files.curve.unlink()
    assert taught_before(pipeline, examples, settings, file) is not None
    assert taught_before(pipeline, examples, replace(settings, rank=2), file) is None
    file.unlink()
    assert taught_before(pipeline, examples, settings, file) is None


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("task", [Task.G, Task.MM])
def test_four_bits_are_taught_from_start_to_end(tmp_path: Path, task: Task) -> None:
    examples = mascots(4)
    if task is Task.MM:
        examples = [Example(example.image, "Who is it?", answer="the mascot") for example in examples]
    file = tmp_path / "mascot.safetensors"
    settings = TeachSettings(task, steps=4, batch=2, rank=2)
    teach(open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", "int4"), examples, settings, file)
    pipeline = IAAPipeline.from_pretrained(dtype="fp32", device="cpu", precision="int4")
    ids = torch.tensor([[5, -200, 6, 7]])
    pixels = torch.randn(1, 3, *[pipeline.model.vision.image_size] * 2, generator=torch.Generator().manual_seed(0))
    logits = []
    for adaptors in ((), ((file, 1.0),)):
        with pipeline.adaptors.using(*adaptors):
            logits.append([pipeline.model(ids, pixels, each) for each in (task, *({Task.G, Task.MM} - {task}))])
    (taught, other), (now, other_now) = logits
    assert torch.isfinite(now).all() and float((now - taught).abs().max()) > 1e-3
    assert torch.equal(other, other_now)


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


def test_a_run_that_was_killed_before_its_first_state_has_its_lines_once(tmp_path: Path) -> None:
    files = Files(tmp_path / "state.pt", tmp_path / "curve.jsonl", "it")
    files.curve.write_text('{"stage": "before", "step": 9}\n')

    def run(killed: bool) -> None:
        module = torch.nn.Linear(2, 1)

        def loss_of(step: int, rng: object) -> tuple[torch.Tensor, dict[str, float]]:
            if killed and step == 3:
                raise KeyboardInterrupt
            return module(torch.ones(1, 2)).square().sum(), {}

        train(module, loss_of, Schedule(4, None, 0.1, warmup=1), files, Watch(report_every=1, save_every=4))

    with pytest.raises(KeyboardInterrupt):
        run(killed=True)
    assert not files.state.exists()
    run(killed=False)
    lines = [json.loads(line) for line in files.curve.read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [("before", 9), *(("it", n) for n in range(1, 5))]


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


@pytest.mark.parametrize("count", [70, 79, 90, 400])
def test_a_name_that_leaves_no_room_for_those_beside_it_is_refused_at_once(tmp_path: Path, count: int) -> None:
    """Not when all is learned; letters of Chinese take three bytes each."""
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    out = tmp_path / f"{'猫' * count}.safetensors"
    assert not RunFiles(out).begun()
    with pytest.raises(InputError, match="takes more than 200 bytes"):
        teach(pipeline, mascots(4), TeachSettings(steps=2), out)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("small")
def test_the_longest_name_has_room_for_those_beside_it(tmp_path: Path) -> None:
    out = tmp_path / f"{'a' * (LONGEST_NAME - len('.safetensors'))}.safetensors"
    settings = TeachSettings(steps=1, batch=1, rank=1)
    teach(open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), mascots(2), settings, out)
    assert len(list(tmp_path.iterdir())) == 4 and out.is_file()


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


def test_cancel_is_heard_while_pictures_are_first_looked_at(tmp_path: Path) -> None:
    pipeline, asked, out = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), [0], tmp_path / "a.safetensors"

    def after(count: int) -> Callable[[], bool]:
        asked[0] = 0
        return lambda: [asked.append(asked.pop() + 1), asked[0] > count][1]

    for count in (0, 3, 5, 8):  # of six pictures, each is checked, and then part of the digest
        with pytest.raises(Cancelled):
            teach(pipeline, mascots(6), TeachSettings(steps=2), out, cancelled=after(count))
        assert asked == [count + 1] and not list(tmp_path.iterdir())


def test_an_answer_that_is_too_long_is_named_before_a_run_is_begun(tmp_path: Path) -> None:
    """It was found once all before it had been looked at, and left a run with which no mended file went on."""
    answers = ("A heart.", "a red ring and " * 3000)
    examples = [
        Example(one.image, "Describe it.", answer=said, where=f"line {number}")
        for number, (one, said) in enumerate(zip(mascots(2), answers, strict=True), 1)
    ]
    pipeline, settings = open_frozen(DEMO_CHECKPOINT, None, "cpu", None), TeachSettings(Task.MM, steps=1)
    with pytest.raises(ContextLengthError, match=r"^line 2: question and answer have .* Shorten them"):
        teach(pipeline, examples, settings, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


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
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_is_under_way_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    """Whatever the second is to teach: it would write over the first's lessons and states, or remove them."""
    pipeline, file = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), tmp_path / "mascot.safetensors"
    settings, refused = TeachSettings(steps=4, batch=1, rank=1), []

    def second(what: str, done: int, total: int) -> None:
        if what == "steps" and done == 2:
            parts = {path: path.read_bytes() for path in RunFiles(file).parts.iterdir()}
            for other in (settings, replace(settings, rank=2)):
                with pytest.raises(InputError, match="Another run is teaching") as caught:
                    teach(pipeline, mascots(4), other, file, overwrite=overwrite)
                refused.append(caught.value)
            assert {path: path.read_bytes() for path in RunFiles(file).parts.iterdir()} == parts

    teach(pipeline, mascots(4), settings, file, on_progress=second)
    assert len(refused) == 2 and read_adaptor(file).rank == 1 and not RunFiles(file).parts.exists()


@pytest.mark.usefixtures("small")
def test_what_another_run_finished_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """The first, unfinished, ends while the second looks at its pictures, and its results are the first's then."""
    pipeline, file = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), tmp_path / "mascot.safetensors"
    settings, note = TeachSettings(steps=4, batch=1, rank=1), Reached("steps", 2)
    with pytest.raises(Cancelled):
        teach(pipeline, mascots(4), settings, file, on_progress=note, cancelled=note.asked)

    def first_goes_on() -> bool:
        if not file.exists():
            teach(pipeline, mascots(4), settings, file)
        return False

    with pytest.raises(InputError, match="is there already"):
        teach(pipeline, mascots(4), replace(settings, steps=5), file, cancelled=first_goes_on)
    assert read_adaptor(file).training["steps"] == 4


def test_a_run_that_was_killed_before_it_noted_anything_is_none(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "mascot.safetensors")
    files.parts.mkdir()
    files.lock.touch()
    assert not files.begun()
    files.check(overwrite=False)
    with files.under_way():
        pass
    assert not list(tmp_path.iterdir())


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


@pytest.mark.usefixtures("small")
def test_an_unfinished_run_of_something_else_is_replaced_with_overwrite_alone(tmp_path: Path) -> None:
    file, note = tmp_path / "a.safetensors", Reached("steps", 2)
    pipeline, settings = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), TeachSettings(steps=4, batch=2, rank=2)
    with pytest.raises(Cancelled):
        teach(pipeline, mascots(5), settings, file, on_progress=note, cancelled=note.asked)
    other = replace(settings, rank=3)
    with pytest.raises(InputError, match="other rank"):
        teach(pipeline, mascots(5), other, file)
    assert teach(pipeline, mascots(5), other, file, overwrite=True).adaptor.rank == 3
    assert not (tmp_path / "a.safetensors.parts").exists()


@pytest.mark.usefixtures("small")
def test_a_picture_that_was_replaced_is_another_one(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(5)]
    examples = [replace(example, image=file) for example, file in zip(mascots(5), files, strict=True)]
    for example, file in zip(mascots(5), files, strict=True):
        example.load().save(file)
    pipeline, note = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), Reached("steps", 2)
    settings, out = TeachSettings(steps=4, batch=2, rank=2), tmp_path / "a.safetensors"
    with pytest.raises(Cancelled):
        teach(pipeline, examples, settings, out, on_progress=note, cancelled=note.asked)
    with Image.open(files[0]) as old:
        Image.new("RGB", old.size, "red").save(files[0])
    with pytest.raises(InputError, match="unfinished run with other examples"):
        teach(pipeline, examples, settings, out)


@pytest.mark.parametrize("batch", [1, 2])
def test_looking_and_asking_take_no_more_rows_than_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """With one picture a step a card needs little more than the weights, before the first step and between them."""
    monkeypatch.setattr("iaa_runtime.teaching.teach.VIEWS_OF_ONE", 3)
    rows, asked, pipeline = list[int](), list[int](), open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    run, answer = batches.run_tree, type(pipeline.model).answer

    def run_counted(stack: Any, trunk: Any, groups: Any, **words: Any) -> Any:
        rows.append(sum(len(leaves.parents) for leaves in groups))
        return run(stack, trunk, groups, **words)

    def answer_counted(model: Any, prompts: Any, *words: Any, **named: Any) -> Any:
        asked.append(len(prompts))
        return answer(model, prompts, *words, **named)

    monkeypatch.setattr(batches, "run_tree", run_counted)
    monkeypatch.setattr(type(pipeline.model), "answer", answer_counted)
    examples = [Example(example.image, text, answer="It.") for example in mascots(6) for text in map(str, range(1, 12))]
    note, settings = Reached("steps", 2), TeachSettings(Task.MM, steps=8, batch=batch, rank=2)
    with pytest.raises(Cancelled):
        teach(pipeline, examples, settings, tmp_path / "a.safetensors", on_progress=note, cancelled=note.asked)
    step = batch * (TAUGHT_A_VIEW + REPLAYED_A_VIEW)
    assert asked and max(rows) <= step and max(asked) <= step


def test_of_many_held_out_pictures_some_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("VIEWS_OF_ONE", 1), ("MOST_HELD_OUT_VIEWS", 3)):
        monkeypatch.setattr(f"iaa_runtime.teaching.teach.{name}", value)
    pipeline, settings = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None), TeachSettings(steps=2, batch=2, rank=2)
    for pictures, views in ((10, 2), (25, 3)):  # of 2 pictures 1 view each, of 5 as many as there is room for
        note = Reached("steps", 1)
        out = tmp_path / f"{pictures}.safetensors"
        with pytest.raises(Cancelled):
            teach(pipeline, mascots(pictures), settings, out, on_progress=note, cancelled=note.asked)
        tests = load_lessons(tmp_path / f"{out.name}.parts" / "held-out.pt")
        assert len(tests.features) == len(tests.taught) == views and tests.a_picture == 1


def test_views_take_no_more_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    for room, views in ((0, 1), (20, 2), (1000, 3)):  # of 8 pictures; 12 steps of 2 draw 24 views
        monkeypatch.setattr("iaa_runtime.teaching.teach.MOST_VIEWS", room)
        note, out = Reached("steps", 1), tmp_path / f"{views}.safetensors"
        settings = TeachSettings(steps=12, batch=2, rank=2)
        with pytest.raises(Cancelled):
            teach(pipeline, mascots(10), settings, out, on_progress=note, cancelled=note.asked)
        learned = load_lessons(tmp_path / f"{out.name}.parts" / "lessons.pt")
        assert len(learned.features) == 8 * views and learned.a_picture == views


def test_of_many_phrases_all_are_asked_of_some_held_out_view() -> None:
    rows = [Row(view, (phrase,), (1,), absent=phrase < 5) for view in range(40) for phrase in range(10)]
    tests = Lessons(Task.G, (), torch.zeros(40, 4, 2), [rows[view * 10 : view * 10 + 10] for view in range(40)])
    asked = [asked_of(tests, view, 4) for view in range(40)]
    assert all(len(own) == 4 and not any(row.absent for row in own) for own in asked)
    assert {row.prompt[0] for own in asked for row in own} == set(range(5, 10))
    assert asked_of(tests, 3, 4) == asked[3] and asked_of(tests, 3, 10) == tests.taught[3]


@pytest.mark.parametrize("views", [1, 2, 3])
def test_what_is_known_is_replayed_however_few_pictures_a_step_has(views: int) -> None:
    memory = Memory(torch.zeros(1, 1), torch.ones(1, 1))
    known = {view: [Row(view, (9,), (1,), memory=memory)] for view in range(0, 90, 9)}
    lessons = Lessons(Task.G, (), torch.zeros(90, 4, 2), [[Row(view, (1,), (1,))] for view in range(90)], known)
    objective = Objective(lessons, lambda features, task: features, views, taught=4, known=2, steps=10)
    drawn = [objective.batch(random.Random(step)) for step in range(400)]
    assert all(any(row.memory is None for row in rows) for rows in drawn)
    assert sum(row.memory is not None for rows in drawn for row in rows) >= 0.45 * views * 400


@pytest.mark.skipif(sys.platform == "win32", reason="a limit that stands for a full disk")
def test_a_disk_that_is_full_is_told_of_and_the_last_state_stays(tmp_path: Path) -> None:
    import resource

    write_state(tmp_path / "state.pt", {"step": 1})
    before, limits = (tmp_path / "state.pt").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (1_000, 100_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            with pytest.raises(InputError, match=r"state\.pt cannot be written \(File too large\)"):
                write_state(tmp_path / "state.pt", {"features": torch.zeros(200_000)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert (tmp_path / "state.pt").read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, value: float) -> None:
    module, files = torch.nn.Linear(2, 1), Files(tmp_path / "state.pt", tmp_path / "curve.jsonl", "it")

    def loss_of(step: int, rng: object) -> tuple[torch.Tensor, dict[str, float]]:
        return module(torch.ones(1, 2)).sum() * (value if step == 2 else 1), {}

    with pytest.raises(InputError, match=r"In step 3 the loss is (nan|-?inf): it has diverged"):
        train(module, loss_of, Schedule(5, None, 0.1, warmup=1), files)
    assert all(torch.isfinite(tensor).all() for tensor in module.parameters())
    assert draw_curve([{"step": 1, "loss": 2.0, "held_out": value}, {"step": 2, "loss": 1.0}]).size == (900, 420)


def test_gradients_are_never_of_float16_unless_it_is_asked_for() -> None:
    for name, dtype in (("cpu", torch.float32), ("mps", torch.float32)):
        assert all(dtype_to_teach(wanted, torch.device(name)) == dtype for wanted in (None, "auto"))
    assert dtype_to_teach("fp16", torch.device("mps")) == torch.float16


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
