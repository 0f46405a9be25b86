"""The demo's training script: its batches compute what the runtime computes, and a tiny run ends in a checkpoint."""

from __future__ import annotations

import json
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import ImageChops
from safetensors.torch import load_file
from torch.nn import functional as F

from iaa_runtime import IAAPipeline, Task
from iaa_runtime.boxes.geometry import intersection, iou, pixel_rectangle
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.config import IMAGE_TOKEN_INDEX
from iaa_runtime.shapes.language import Question, caption, grounding_answer, left_to_right
from iaa_runtime.shapes.scenes import COLORS, KINDS, draw_scene, make_scene
from iaa_runtime.teaching import branching, losses
from iaa_runtime.text.conversation import Conversation
from iaa_runtime.text.prompts import grounding_question
from iaa_runtime.text.tokenizer import load_tokenizer

STEPS = ["--text-steps", "2", "--tower-steps", "2", "--mm-steps", "2", "--g-steps", "2"]


@pytest.fixture(scope="module")
def training(project_root: Path) -> Iterator[Any]:
    """The script's modules, which stand beside it and import one another by name."""
    folder = str(project_root / "training")
    sys.path.insert(0, folder)
    import answers
    import dialogues
    import forms
    import gaze
    import parts
    import tower
    import unnamed
    from tokenizers import Tokenizer

    yield SimpleNamespace(
        answers=answers,
        dialogues=dialogues,
        forms=forms,
        gaze=gaze,
        parts=parts,
        tower=tower,
        unnamed=unnamed,
        tokenizer=Tokenizer.from_file(str(DEMO_CHECKPOINT / "tokenizer.json")),
    )
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def project_root() -> Path:
    return Path(__file__).parents[2]


def random_stack(training: Any) -> Any:
    config, device = training.parts.language_config(64), torch.device("cpu")
    base, mm = (training.parts.make_bank(name, config, device) for name in ("base", "mm"))
    torch.manual_seed(0)
    for parameter in (*base.parameters(), *mm.parameters()):
        torch.nn.init.normal_(parameter, std=0.1)
    return training.parts.make_stack(Task.MM, config, base, mm, device)


def test_a_tree_of_questions_is_the_flat_sequences(training: Any) -> None:
    stack, device = random_stack(training), torch.device("cpu")
    system, pictures = torch.randn(1, 5, 128), torch.randn(2, 7, 128)
    short, long = torch.randn(3, 2, 128), torch.randn(3, 4, 128)
    parents = torch.tensor([1, 0, 1])
    groups = [branching.Leaves(leaves, parents) for leaves in (short, long)]
    with torch.no_grad():
        for context in (branching.cpu_attention(device), torch.no_grad()):
            with context:
                found = branching.run_tree(stack, [system, pictures], groups)
            for leaves, activations in zip((short, long), found, strict=True):
                flat = torch.cat((system.expand(3, -1, -1), pictures[parents], leaves), 1)
                torch.testing.assert_close(activations, stack.hidden(flat)[:, 12:], rtol=1e-4, atol=1e-4)


def test_gaze_is_how_far_attention_is_from_what_it_should_see(training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = random_stack(training)
    system, pictures, leaves = torch.randn(1, 3, 128), torch.randn(2, 5, 128), torch.randn(3, 2, 128)
    parents = torch.tensor([1, 0, 1])
    labels = torch.full((2, 5, 6), -1.0)  # a shape in the first of four patches; in picture 1 another in the last
    labels[:, 0] = torch.tensor([0, 0, 0.05, 0.05, 0.45, 0.45])
    labels[1, 1] = torch.tensor([1, 1, 0.55, 0.55, 0.95, 0.95])
    looks = torch.zeros(3, 2, 2, 6, dtype=torch.bool)
    looks[0, 1, 0, 1] = looks[0, 1, 1, 0] = True  # row 0, last token: the first head at shape 1, the second at shape 0
    looks[1, 0, 0, [0, 5]] = True  # row 1, first token: the first head at shape 0 and at nothing
    gaze = training.gaze.Gaze(stack, first_patch=3)
    with torch.no_grad(), gaze.watch():
        branching.run_tree(stack, [system, pictures], [branching.Leaves(leaves, parents)])
        found = gaze.loss(labels, 2, [parents], [looks])

    weights = []  # (rows, groups, T, T) of every block's groups' first heads, of the same rows written out flat

    def attend(q: torch.Tensor, k: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        scores = q[:, ::2] @ k.transpose(-1, -2) / 32**0.5
        scores = scores.masked_fill(~torch.ones(10, 10).tril().bool(), -1e9)
        weights.append(scores.softmax(-1))
        return plain(q, k, *_, **__)

    plain = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    with torch.no_grad():
        stack.hidden(torch.cat((system.expand(3, -1, -1), pictures[parents], leaves), 1))
    divergences = []
    for of_block in (weights[5], weights[7]):
        divergences += [-of_block[0, 0, 9, 6].log(), -of_block[0, 1, 9, 3].log()]
        divergences += [0.5 * (0.5 / of_block[1, 0, 8, 3]).log() + 0.5 * (0.5 / of_block[1, 0, 8, 0]).log()]
    torch.testing.assert_close(found, torch.stack(divergences).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "question"), [(Task.MM, "Describe this image."), (Task.G, grounding_question("the red circle"))]
)
def test_trunk_and_branch_are_the_runtimes_prompt(training: Any, task: Task, question: str) -> None:
    script, stem = training.dialogues.Script(training.tokenizer), task is Task.G
    before, after = script.trunk(task, stem)
    ids = script.branch([Question(question, "", "")], stem, [False]).ids
    prompt = Conversation().user(question).encode(load_tokenizer(DEMO_CHECKPOINT), task)
    assert [*before, IMAGE_TOKEN_INDEX, *after, *ids[:-1]] == prompt


def test_every_token_of_an_answer_knows_where_to_look(training: Any) -> None:
    scene, script = make_scene(7), training.dialogues.Script(training.tokenizer)
    order = left_to_right(scene, range(len(scene.shapes)))
    assert len(order) == 3

    def looks(turn: Question) -> list[tuple[str, tuple[tuple[int, ...], tuple[int, ...]]]]:
        ids, seen = script.answer(turn)
        assert seen[-1] == training.dialogues.FREE, "the end of an answer is about no shape"
        return list(zip(map(training.tokenizer.id_to_token, ids), seen, strict=True))

    found = looks(Question("", grounding_answer(scene, order), "plural", order, landmark=4))
    texts = ["".join(token for token, look in found if look == ((s,), (4,))) for s in order]
    boxes = grounding_answer(scene, order).split("; ")
    assert [text.lstrip(";Ġ") for text in texts] == [box.partition(",")[0] + "," for box in boxes], "until it is chosen"

    found = looks(Question("", caption(scene), "caption", order, counted=order))
    assert list(dict.fromkeys(look for _, (look, _) in found)) == [(*order, training.dialogues.NOTHING)] + [
        (s,) for s in order
    ] + [()]
    for s in order:
        item = [token for token, (look, _) in found if look == (s,)]
        assert f"Ġ{scene.shapes[s].color}" in item and f"Ġ{scene.shapes[s].kind}" in item

    assert {look for _, look in looks(Question("", "2", "count", counted=(0, 2)))} == {
        ((0, 2, training.dialogues.NOTHING), ()),
        training.dialogues.FREE,
    }


def test_every_item_of_a_styled_caption_knows_where_to_look(training: Any) -> None:
    """Whatever stands before it; its shape may be called by less than everything."""
    script, rng = training.dialogues.Script(training.tokenizer), random.Random(0)
    for seed in range(60):
        scene = make_scene(seed)
        turn = training.dialogues.styled_turn(scene, rng)
        ids, looks = script.answer(turn)
        assert looks[-1] == training.dialogues.FREE
        seen = [look for look, _ in looks[:-1]]
        if seen[0] != (turn.about[0],):
            assert seen[0] == (*turn.counted, training.dialogues.NOTHING)
        assert list(dict.fromkeys(look for look in seen if len(look) == 1)) == [(shape,) for shape in turn.about]
        for shape in turn.about:
            text = training.tokenizer.decode([i for i, look in zip(ids, seen, strict=False) if look == (shape,)])
            assert {scene.shapes[shape].color, "shape" if " shape" in text else scene.shapes[shape].kind} <= set(
                re.findall(r"\w+", text)
            )


def test_a_form_made_up_says_of_two_scenes_what_they_show_in_the_same_words(training: Any) -> None:
    script, rng, forms = training.dialogues.Script(training.tokenizer), random.Random(0), set()
    for seed in range(60):
        scene = make_scene(seed)
        turn = training.forms.formed_turn(scene, rng)
        ids, looks = script.answer(turn)
        seen = [look for look, _ in looks[:-1]]
        assert [look for look in dict.fromkeys(seen) if len(look) == 1] == [(shape,) for shape in turn.about]
        for shape in turn.about:
            text = training.tokenizer.decode([i for i, look in zip(ids, seen, strict=False) if look == (shape,)])
            assert {scene.shapes[shape].color, scene.shapes[shape].kind} <= set(re.findall(r"\w+", text.lower()))

        forms.add(training.forms.make_form(rng))
    assert len(forms) == 60, "each is used once"


def test_a_form_differs_from_scene_to_scene_in_what_they_show_alone(training: Any) -> None:
    shown = re.compile(rf"\b(?:{'|'.join((*COLORS, *KINDS, 'small', 'large', 'an?'))})\b")
    scenes = [scene for scene in map(make_scene, range(40)) if len(scene.shapes) == 3]
    rng = random.Random(0)
    for _ in range(100):
        form = training.forms.make_form(rng)
        assert len({re.sub(shown, "_", form.caption(scene)[0].lower()) for scene in scenes}) == 1


def test_the_form_that_a_benchmark_teaches_is_never_among_the_lessons(training: Any) -> None:
    rng, untaught = random.Random(0), training.forms.UNTAUGHT
    scene = next(scene for seed in range(99) if len((scene := make_scene(seed)).shapes) == 2)
    said = untaught.caption(scene)[0].removesuffix(".")
    assert re.fullmatch(r"Two shapes: \w+ \w+, \w+ \w+", said)
    assert not any(training.forms.make_form(rng).caption(scene)[0].startswith(said) for _ in range(20_000))


def test_soft_coordinates_peak_at_the_truth_and_sum_to_one(training: Any) -> None:
    table = losses.soft_numbers(torch.arange(1000), 5.0)
    assert torch.equal(table.argmax(-1), torch.arange(1000))
    torch.testing.assert_close(table.sum(-1), torch.ones(1000))
    assert table[500, 505] / table[500, 500] == pytest.approx(0.6065, rel=1e-3)


def test_patch_labels_stay_with_their_shapes_when_pictures_are_flipped(training: Any) -> None:
    labels = torch.full((1, 5, 6), -1.0)
    labels[0, 0] = torch.tensor([2, 3, 0.05, 0.1, 0.1625, 0.2875])
    pixels = torch.zeros(1, 3, 80, 80)
    pixels[:, :, 8:23, 4:13] = 1
    for seed in range(12):
        turned, moved, none = training.tower.flip((pixels, labels, None), torch.Generator().manual_seed(seed))
        kind, color, box, owner, inside = training.tower.patch_targets(moved, 8)
        assert none is None and owner.sum() == 1 and inside.sum() == 1
        at = int(owner.argmax())
        assert (kind[0, at], color[0, at]) == (2, 3)
        x1, y1, x2, y2 = (round(float(v) * 80) for v in box[0, at])
        assert turned[0, 0, y1:y2, x1:x2].min() == 1 and turned.sum() == turned[0, :, y1:y2, x1:x2].sum()


def test_an_unnamed_thing_is_boxed_from_edge_to_edge_and_covers_no_shape(training: Any) -> None:
    overlaps = []
    for seed in range(30):
        drawn = training.unnamed.draw_unnamed(seed)
        assert not any(intersection(drawn.box, shape.box) for shape in drawn.scene.shapes)
        seen = ImageChops.difference(drawn.picture, draw_scene(drawn.scene)).getbbox()
        assert seen is not None and pixel_rectangle(drawn.box, drawn.picture.size) == pytest.approx(
            tuple(pick(a, b) for pick, a, b in zip((min, min, max, max), drawn.box, seen, strict=True)), abs=1
        )
        overlaps.append(iou(drawn.box, seen))
    assert statistics.median(overlaps) > 0.9  # not the least: a part may have the ground's colour


def test_patches_of_an_unnamed_thing_have_its_box_and_neither_kind_nor_color(training: Any) -> None:
    tower, labels = training.tower, torch.full((1, 5, 6), -1.0)
    labels[0, 0] = torch.tensor([2, 3, 0.05, 0.1, 0.1625, 0.2875])
    labels[0, -1] = torch.tensor([tower.KIND_CLASSES - 1, tower.COLOR_CLASSES - 1, 0.5, 0.5, 0.9, 0.7])
    kind, color, box, owner, inside = tower.patch_targets(labels, 8)
    there = tower.patch_owners(labels, 8) == 4
    assert there.sum() == 6 and inside[there].all() and owner[there].sum() == 1
    assert (kind[there] == tower.KIND_CLASSES - 1).all() and (color[there] == tower.COLOR_CLASSES - 1).all()
    torch.testing.assert_close(box[there], labels[0, -1, 2:].expand(6, -1))


def test_looks_are_of_the_thing_alone(training: Any) -> None:
    """Its patches, and no other, are held to its looks; where it is transparent, its colour is none."""
    labels = torch.full((1, 5, 6), -1.0)
    labels[0, -1] = torch.tensor([6, 11, 0.5, 0.5, 0.9, 0.75])
    looks = torch.rand(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    wanted = torch.cat((looks[:, :3] * looks[:, 3:], looks[:, 3:]), 1).flatten()
    features = torch.full((1, 64, wanted.numel()), torch.nan)
    features[training.tower.patch_owners(labels, 8) == 4] = wanted
    assert training.tower.looks_loss(features, torch.nn.Identity(), labels, looks) == 0
    assert training.tower.looks_loss(features + 1, torch.nn.Identity(), labels, looks) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="training needs torch 2.9's Muon")
def test_a_tiny_run_makes_a_checkpoint_and_goes_on(project_root: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(project_root / "training" / "train.py"), "--out", str(tmp_path)]
    command = [*script, "--pictures", "600", "--scenes", "2", "--threads", "1", "--device", "cpu", *STEPS]
    environment = {"PYTHONPATH": str(project_root)}
    # The second run finds everything done, but writes the checkpoint again.
    first, _ = (
        subprocess.run(command, check=True, cwd=project_root, env=environment, stderr=subprocess.PIPE, timeout=300)
        for _ in range(2)
    )
    counts = (b" 600 of 600 pictures drawn", b" 300 of 300 pictures with things drawn")
    for told in (b"stage pictures", *counts, b" 600 of 600 pictures seen by the tower"):
        assert told in first.stderr, first.stderr
    assert json.loads((tmp_path / "checkpoint" / "config.json").read_text())["model_type"] == "IAA"
    picture = draw_scene(make_scene(1_000_000_000))
    pipeline = IAAPipeline.from_pretrained(tmp_path / "checkpoint")
    (found,) = pipeline.ground([picture], ["the red circle"], threshold=0)
    assert found and all(0 <= d.x < picture.width and 0 <= d.y < picture.height for d in found)
    assert isinstance(pipeline.text("What is 1 plus 1?", max_new_tokens=4), str)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="training needs torch 2.9's Muon")
@pytest.mark.parametrize("tower", [False, True])
def test_the_demo_model_learns_on(project_root: Path, tmp_path: Path, tower: bool) -> None:
    """From its checkpoint, G alone or with the tower: everything else is written as it was read, bit for bit."""
    script = [sys.executable, str(project_root / "training" / "train.py"), "--out", str(tmp_path)]
    start = ["--start-from", str(DEMO_CHECKPOINT), "--take", "text", "tower", "mm", "g", "--refine"]
    learned = ["tower", "features", "g"] if tower else ["features", "g"]
    stages = ["--stages", "pictures", *learned, "export", "--g-steps", "2", "--tower-steps", "2"]
    small = ["--pictures", "600", "--scenes", "2", "--threads", "1", "--device", "cpu"]
    environment = {"PYTHONPATH": str(project_root)}
    subprocess.run([*script, *start, *stages, *small], check=True, cwd=project_root, env=environment, timeout=300)
    for file in ("model.safetensors", "clip/model.safetensors"):
        before, after = (load_file(folder / file) for folder in (DEMO_CHECKPOINT, tmp_path / "checkpoint"))
        assert before.keys() == after.keys()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        if file == "model.safetensors":
            assert changed and all("grounding" in name or "projector_G" in name for name in changed)
        else:
            assert bool(changed) is tower
