"""On a real GPU: answers are the CPU's at every precision, and take the memory that the formulas say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from iaa_runtime import IAAModel, IAAPipeline
from iaa_runtime.bench.checkpoints import SIZES, write_checkpoint
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.checkpoint.checkpoint import Checkpoint
from iaa_runtime.config import IMAGE_TOKEN_INDEX
from iaa_runtime.model.devices import pick_device
from iaa_runtime.shapes.evaluate import make_exam
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene

pytestmark = pytest.mark.gpu

SCENES = 12
FORMS: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": torch.float32},
    "bf16": {"dtype": torch.bfloat16},
    "fp16": {"dtype": torch.float16},
    "fp8": {"dtype": torch.bfloat16, "precision": "fp8"},
    "int8": {"dtype": torch.bfloat16, "precision": "int8"},
    "int8 in fp16": {"dtype": torch.float16, "precision": "int8"},
    "int4": {"dtype": torch.bfloat16, "precision": "int4"},
    "int4 in fp16": {"dtype": torch.float16, "precision": "int4"},
}


@pytest.fixture(scope="module")
def device() -> str:
    return pick_device("auto")


@pytest.fixture(scope="module")
def asked() -> list[tuple[Any, str]]:
    """Pictures that the demo model never saw, each with a phrase for one shape."""
    exams = [make_exam(EVALUATION_SEED + number) for number in range(SCENES)]
    return [(draw_scene(exam.scene), exam.phrases[0].phrase) for exam in exams]


def answers(pipeline: IAAPipeline, asked: list[tuple[Any, str]]) -> list[tuple[tuple[float, ...], str, str]]:
    """The first box of each phrase, a caption and an answer to a question."""
    found = []
    for picture, phrase in asked:
        boxes = pipeline.ground(picture, [phrase])[0]
        first = tuple(boxes[0].xyxy) if boxes else (0.0, 0.0, 0.0, 0.0)
        found.append((first, pipeline.caption(picture)[0], pipeline.text("What is the opposite of left?")))
    return found


@pytest.fixture(scope="module")
def exact(asked: list[tuple[Any, str]]) -> list[tuple[tuple[float, ...], str, str]]:
    return answers(IAAPipeline.from_pretrained(dtype=torch.float32), asked)


@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "captured"])
@pytest.mark.parametrize("form", FORMS)
def test_answers_are_those_of_a_cpu(
    form: str, graphs: bool, device: str, asked: list[tuple[Any, str]], exact: list[tuple[tuple[float, ...], str, str]]
) -> None:
    pipeline = IAAPipeline.from_pretrained(device=device, cuda_graphs=graphs, **FORMS[form])
    ours = answers(pipeline, asked)
    close = sum(iou(a, b) >= 0.9 for (a, _, _), (b, _, _) in zip(ours, exact, strict=True))
    same = sum(a == b for (_, a, _), (_, b, _) in zip(ours, exact, strict=True))
    assert close >= 0.8 * SCENES and same >= 0.8 * SCENES
    assert all(a[2] == b[2] for a, b in zip(ours, exact, strict=True))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose matrices are of the published sizes."""
    return write_checkpoint(tmp_path_factory.mktemp("wide") / "wide", SIZES["wide"], torch.bfloat16)


@pytest.fixture
def quiet_cuda() -> Iterator[None]:
    if not torch.cuda.is_available():
        pytest.skip("memory is counted by CUDA's allocator")
    torch.cuda.empty_cache()
    yield
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("quiet_cuda")
@pytest.mark.parametrize("form", FORMS)
def test_memory_is_what_a_host_is_told(form: str, wide: Path) -> None:
    told = 0

    def host(banks: Mapping[str, torch.nn.Module], working_bytes: int) -> None:
        nonlocal told
        told = max(told, working_bytes)

    options = FORMS[form]
    model = IAAModel(Checkpoint(wide), options["dtype"], "cuda", precision=options.get("precision"), residency=host)
    before = torch.cuda.memory_allocated()
    model.load("base", "mm", "vision")
    weights = torch.cuda.memory_allocated() - before
    ids = torch.tensor([[1, 5, IMAGE_TOKEN_INDEX, *range(10, 50)]] * 2)
    pixels = torch.randn((2, 3, model.vision.image_size, model.vision.image_size))
    model.generate(ids, pixels, "MM", max_new_tokens=8)  # libraries take workspaces of their own
    kept = torch.cuda.memory_allocated() - before - weights
    torch.cuda.reset_peak_memory_stats()
    model.generate(ids, pixels, "MM", max_new_tokens=64)
    work = torch.cuda.max_memory_allocated() - before - weights - kept
    assert work <= 1.1 * told
    model.unload()
    del model
    assert torch.cuda.memory_allocated() - before - kept < 1 << 20
