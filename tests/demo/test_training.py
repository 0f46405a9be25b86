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

from iaa_runtime import IAAPipeline, Task
from iaa_runtime.shapes.scenes import draw_scene, make_scene

STEPS = ["--text-steps", "2", "--tower-steps", "2", "--mm-steps", "2", "--g-steps", "2"]


@pytest.fixture(scope="module")
def training(project_root: Path) -> Iterator[Any]:
    """The script's modules, which stand beside it and import one another by name."""
    folder = str(project_root / "examples" / "shapes")
    sys.path.insert(0, folder)
    import answers
    import branching
    import parts
    import tower

    yield SimpleNamespace(answers=answers, branching=branching, parts=parts, tower=tower)
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def project_root() -> Path:
    return Path(__file__).parents[2]


def test_a_tree_of_questions_is_the_flat_sequences(training: Any) -> None:
    config, device = training.parts.language_config(64), torch.device("cpu")
    base, mm = (training.parts.make_bank(name, config, device) for name in ("base", "mm"))
    torch.manual_seed(0)
    for parameter in (*base.parameters(), *mm.parameters()):
        torch.nn.init.normal_(parameter, std=0.1)
    stack = training.parts.make_stack(Task.MM, config, base, mm, device)
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
