"""The demo's training script: its batches compute what the runtime computes, and a tiny run ends in a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from iaa_runtime import IAAPipeline, Task
from iaa_runtime.pipeline import DEMO_CHECKPOINT
from iaa_runtime.shapes.language import Question, caption, grounding_answer, left_to_right
from iaa_runtime.shapes.scenes import draw_scene, make_scene

STEPS = ["--text-steps", "2", "--tower-steps", "2", "--mm-steps", "2", "--g-steps", "2"]


@pytest.fixture(scope="module")
def training(project_root: Path) -> Iterator[Any]:
    """The script's modules, which stand beside it and import one another by name."""
    folder = str(project_root / "examples" / "shapes")
    sys.path.insert(0, folder)
    import answers
    import branching
    import dialogues
    import gaze
    import parts
    import tower
    from tokenizers import Tokenizer

    yield SimpleNamespace(
        answers=answers,
        branching=branching,
        dialogues=dialogues,
        gaze=gaze,
        parts=parts,
        tower=tower,
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
    groups = [training.branching.Leaves(leaves, parents) for leaves in (short, long)]
    with torch.no_grad():
        for context in (training.branching.cpu_attention(device), torch.no_grad()):
            with context:
                found = training.branching.run_tree(stack, [system, pictures], groups)
            for leaves, activations in zip((short, long), found, strict=True):
                flat = torch.cat((system.expand(3, -1, -1), pictures[parents], leaves), 1)
                torch.testing.assert_close(activations, stack.hidden(flat)[:, 12:], rtol=1e-4, atol=1e-4)


def test_gaze_is_the_share_of_attention_on_the_shape(training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = random_stack(training)
    system, pictures, leaves = torch.randn(1, 3, 128), torch.randn(2, 5, 128), torch.randn(3, 2, 128)
    parents = torch.tensor([1, 0, 1])
    labels = torch.full((2, 5, 6), -1.0)  # a shape in the first of four patches; in picture 1 another in the last
    labels[:, 0] = torch.tensor([0, 0, 0.05, 0.05, 0.45, 0.45])
    labels[1, 1] = torch.tensor([1, 1, 0.55, 0.55, 0.95, 0.95])
    about = torch.tensor([[-1, 1], [0, -1], [-1, -1]])
    gaze = training.gaze.Gaze(stack, first_patch=3)
    with torch.no_grad(), gaze.watch():
        training.branching.run_tree(stack, [system, pictures], [training.branching.Leaves(leaves, parents)])
        found = gaze.loss(labels, 2, [parents], [about])

    weights = []  # (rows, T, T) of every block's first head, of the same rows written out flat

    def attend(q: torch.Tensor, k: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        scores = (q[:, 0] @ k[:, 0].transpose(-1, -2) / 32**0.5).masked_fill(~torch.ones(10, 10).tril().bool(), -1e9)
        weights.append(scores.softmax(-1))
        return plain(q, k, *_, **__)

    plain = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    with torch.no_grad():
        stack.hidden(torch.cat((system.expand(3, -1, -1), pictures[parents], leaves), 1))
    shares = [weights[block][row, token, column] for block in (5, 7) for row, token, column in ((0, 9, 6), (1, 8, 3))]
    torch.testing.assert_close(found, -torch.stack(shares).log().mean(), rtol=1e-4, atol=1e-5)


def test_every_token_of_an_answer_knows_its_shape(training: Any) -> None:
    scene, script = make_scene(7), training.dialogues.Script(training.tokenizer)
    order = left_to_right(scene, range(len(scene.shapes)))
    assert len(order) == 3
    ids, about = script.answer(Question("", grounding_answer(scene, order), "plural", order))
    texts = [
        "".join(training.tokenizer.id_to_token(i) for i, a in zip(ids, about, strict=True) if a == s) for s in order
    ]
    assert [text.lstrip(";Ġ") for text in texts] == grounding_answer(scene, order).split("; ")
    ids, about = script.answer(Question("", caption(scene), "caption", order))
    assert list(dict.fromkeys(a for a in about if a >= 0)) == list(order)
    for s in order:
        said = [training.tokenizer.id_to_token(i) for i, a in zip(ids, about, strict=True) if a == s]
        assert f"Ġ{scene.shapes[s].color}" in said and f"Ġ{scene.shapes[s].kind}" in said
    assert set(script.answer(Question("", "two", "count"))[1]) == {-1}


def test_soft_coordinates_peak_at_the_truth_and_sum_to_one(training: Any) -> None:
    table = training.answers.soft_numbers(5.0)
    assert torch.equal(table.argmax(-1), torch.arange(1000))
    torch.testing.assert_close(table.sum(-1), torch.ones(1000))
    assert table[500, 505] / table[500, 500] == pytest.approx(0.6065, rel=1e-3)


def test_patch_labels_stay_with_their_shapes_when_pictures_are_flipped(training: Any) -> None:
    labels = torch.full((1, 5, 6), -1.0)
    labels[0, 0] = torch.tensor([2, 3, 0.05, 0.1, 0.1625, 0.2875])
    pixels = torch.zeros(1, 3, 80, 80)
    pixels[:, :, 8:23, 4:13] = 1
    for seed in range(12):
        turned, moved = training.tower.flip(pixels, labels, torch.Generator().manual_seed(seed))
        kind, color, box, owner = training.tower.patch_targets(moved, 8)
        assert owner.sum() == 1
        at = int(owner.argmax())
        assert (kind[0, at], color[0, at]) == (2, 3)
        x1, y1, x2, y2 = (round(float(v) * 80) for v in box[0, at])
        assert turned[0, 0, y1:y2, x1:x2].min() == 1 and turned.sum() == turned[0, :, y1:y2, x1:x2].sum()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="training needs torch 2.9's Muon")
def test_a_tiny_run_makes_a_checkpoint_and_goes_on(project_root: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(project_root / "examples" / "shapes" / "train.py"), "--out", str(tmp_path)]
    command = [*script, "--pictures", "600", "--scenes", "2", "--threads", "1", "--device", "cpu", *STEPS]
    for _ in range(2):  # the second run finds everything done, but writes the checkpoint again
        subprocess.run(command, check=True, cwd=project_root, env={"PYTHONPATH": str(project_root)}, timeout=300)
    assert json.loads((tmp_path / "checkpoint" / "config.json").read_text())["model_type"] == "IAA"
    picture = draw_scene(make_scene(1_000_000_000))
    pipeline = IAAPipeline.from_pretrained(tmp_path / "checkpoint")
    (found,) = pipeline.ground([picture], ["the red circle"])
    assert found and all(0 <= d.x < picture.width and 0 <= d.y < picture.height for d in found)
    assert isinstance(pipeline.text("What is 1 plus 1?", max_new_tokens=4), str)
