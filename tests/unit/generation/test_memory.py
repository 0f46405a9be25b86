"""What a task takes, by formula: the published checkpoint's figures, and that the formulas bound what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iaa_runtime.config import IAAConfig, Task, VisionConfig
from iaa_runtime.generation.memory import FORMATS, task_bytes, weight_bytes


@pytest.fixture(scope="module")
def published(reference: Path) -> IAAConfig:
    return IAAConfig.from_dict(json.loads((reference / "published_config.json").read_text()))


@pytest.mark.parametrize(
    ("form", "task", "gigabytes"), [("bf16", Task.MM, 22.8), ("bf16", Task.TEXT, 16.1), ("fp32", Task.G, 45.6)]
)
def test_weights_of_the_published_checkpoint(published: IAAConfig, form: str, task: Task, gigabytes: float) -> None:
    assert weight_bytes(published, VisionConfig(), task, FORMATS[form]) / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize(("form", "bound"), [("int8", 13.0), ("fp8", 13.0), ("int4", 8.5)])
def test_mm_fits_where_it_should(published: IAAConfig, form: str, bound: float) -> None:
    needed = task_bytes(published, VisionConfig(), Task.MM, FORMATS[form]) / 1e9
    assert bound - 1 < needed <= bound


def test_formats_run_from_the_most_exact_to_the_smallest(published: IAAConfig) -> None:
    sizes = [weight_bytes(published, VisionConfig(), Task.G, form) for form in FORMATS.values()]
    assert sizes == sorted(sizes, reverse=True)
