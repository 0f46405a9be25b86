"""docs/teaching.md shows what the program does."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

from iaa_runtime.adaptors.base import adapted_matrices
from iaa_runtime.config import IAAConfig, Task, VisionConfig
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.generation.memory import CARDS, FORMATS, weight_bytes
from iaa_runtime.teaching import teach
from iaa_runtime.teaching.replay import LONGEST


@pytest.fixture
def page(project: Path) -> str:
    return (project / "docs" / "teaching.md").read_text(encoding="utf-8")


def test_its_example_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With fewer pictures, views and steps, so that it takes seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(teach, "VIEWS_OF_ONE", 2)
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for whole, less in (("range(40)", "range(5)"), ("TeachSettings()", "TeachSettings(steps=2, batch=2)")):
        assert program.count(whole) == 1
        program = program.replace(whole, less)
    (tmp_path / "program.py").write_text(program)
    runpy.run_path("program.py")
    before, after = map(float, capsys.readouterr().out.split())
    assert 0 <= before <= 1 and 0 <= after <= 1
    assert (tmp_path / "heart.safetensors").is_file()


def test_its_numbers_are_those_of_the_code(page: str) -> None:
    assert f"seen in up to {teach.VIEWS_OF_ONE} ways" in page
    assert f"Every {teach.REPORT_EVERY} steps" in page and f"{teach.MOST_HELD_OUT_VIEWS} of them at most" in page
    assert f"at most {teach.MOST_VIEWS:,} (or one of each picture) and {teach.MOST_HELD_OUT_VIEWS} held out" in page
    assert {0.2: "A fifth of the pictures is held out"}[TeachSettings.hold_out] in page
    assert f"half the steps (`--steps {TeachSettings.steps // 2}`)" in page


@pytest.mark.parametrize(
    ("name", "form"), [("`--precision int4`", "int4"), ("`--precision int8`", "int8"), ("16 bit", "bf16")]
)
def test_its_table_of_memory_is_its_formula(page: str, reference: Path, name: str, form: str) -> None:
    config = IAAConfig.from_dict(json.loads((reference / "published_config.json").read_text()))
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", page, re.MULTILINE)
    weights, *steps = (float(cell.removesuffix(" GB")) for cell in row.split(" | "))
    counted = weight_bytes(config, VisionConfig(), Task.G, FORMATS[form]) / 1e9
    assert f"{counted:.1f}" == f"{weights:.1f}"
    updates = 16 * 16 * sum(map(sum, adapted_matrices(config, Task.G).values())) / 1e9
    keys = config.num_key_value_heads * config.head_dim * 4
    eight = teach.TAUGHT_A_VIEW + teach.REPLAYED_A_VIEW
    asked = [(eight, 20, 20), (1 + teach.REPLAYED_A_VIEW, 20, LONGEST), (eight, 20, LONGEST)]
    for (rows, question, answer), step, card in zip(asked, steps[::2], steps[1::2], strict=True):
        own = question + answer
        of_blocks = (640 + rows * own) * config.hidden_size * 2 + (rows + 1) * (640 + own) * keys
        picture = (of_blocks * config.num_blocks + rows * answer * config.vocab_size * 13) / 1e9
        assert f"{counted + updates + 0.6 + picture:.1f}" == f"{step:.1f}"
        assert step <= card and not any(step <= size < card for size in CARDS)
