"""What a task takes, by formula: the published checkpoint's figures, and that the formulas bound what is measured."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_cuda import CUDA, Memory, on_fake_cuda
from torch import Tensor
from torch._subclasses import FakeTensorMode

from iaa_runtime.config import BankName, GenerationConfig, IAAConfig, Task, VisionConfig
from iaa_runtime.generation import beam, drafting, loop
from iaa_runtime.generation.grammar import BoxGrammar
from iaa_runtime.generation.memory import (
    FORMATS,
    generation_bytes,
    projection_bytes,
    task_bytes,
    vision_bytes,
    weight_bytes,
)
from iaa_runtime.generation.prefill import Prompt
from iaa_runtime.model.banks import AdaptorBank, BaseBank, HeadBank, VisionBank, build_bank
from iaa_runtime.model.stack import Stack, interleave


@pytest.fixture(scope="module")
def published(reference: Path) -> IAAConfig:
    return IAAConfig.from_dict(json.loads((reference / "published_config.json").read_text()))


@pytest.mark.parametrize(
    ("form", "task", "gigabytes"), [("bf16", Task.MM, 22.8), ("bf16", Task.TEXT, 16.1), ("fp32", Task.G, 45.6)]
)
def test_weights_of_the_published_checkpoint(published: IAAConfig, form: str, task: Task, gigabytes: float) -> None:
    assert weight_bytes(published, VisionConfig(), task, FORMATS[form]) / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize(("form", "bound"), [("int8", 13.0), ("fp8", 13.0), ("int4", 9.0)])
def test_mm_fits_where_it_should(published: IAAConfig, form: str, bound: float) -> None:
    needed = task_bytes(published, VisionConfig(), Task.MM, FORMATS[form]) / 1e9
    assert bound - 1 < needed <= bound


def test_the_readme_s_table_of_cards_is_the_count(published: IAAConfig, project: Path) -> None:
    page = (project / "README.md").read_text(encoding="utf-8").partition("## Which card for what")[2]
    rows = re.findall(r"^\| (`.+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (.+) \|$", page, re.MULTILINE)
    asked = {"one": (Task.MM, Task.G), "both": ((Task.MM, Task.G),), "Text": (Task.TEXT,)}
    told = {form for first, *_ in rows for form in re.findall(r"`(\w+)`", first)}
    assert told == {"full", "fp8", "int8", "int4"}
    for first, one, both, text, cards in rows:
        sizes = {"one": one, "both": both, "Text": text}
        for name in re.findall(r"`(\w+)`", first):
            form = FORMATS["bf16" if name == "full" else name]
            counted = {
                key: max(task_bytes(published, VisionConfig(), tasks, form) for tasks in several) / 1e9
                for key, several in asked.items()
            }
            assert {key: f"{value:.1f}" for key, value in counted.items()} == sizes, name
            fits = dict(re.findall(r"(?:^|; )(?:(\w+): )?(\d+) GB", cards))
            assert all(counted[key or "one"] <= int(card) for key, card in fits.items()), name
    (three,) = re.findall(r"all three are converted \(([\d.]+) GB\)", page)
    (alone,) = re.findall(r"([\d.]+) GB for one task in `int4`", page)
    for size, tasks in ((three, tuple(Task)), (alone, Task.G)):
        assert f"{weight_bytes(published, VisionConfig(), tasks, FORMATS['int4']) / 1e9:.1f}" == size


def test_formats_run_from_the_most_exact_to_the_smallest(published: IAAConfig) -> None:
    sizes = [round(weight_bytes(published, VisionConfig(), Task.G, form), -8) for form in FORMATS.values()]
    assert sizes == sorted(sizes, reverse=True)


# What is taken, by fake tensors of the published sizes, which take nothing --------------------------------------------


@contextmanager
def banks(config: IAAConfig, dtype: torch.dtype, *names: BankName) -> Iterator[tuple[Memory, list[Any]]]:
    """Banks on the fake device, and what is taken there beside them."""
    with on_fake_cuda(FakeTensorMode(allow_non_fake_inputs=True)):
        modules = [build_bank(name, config, VisionConfig(), None, dtype, CUDA) for name in names]
        with Memory(tensor for module in modules for tensor in module.parameters()) as memory:
            yield memory, modules


def stack_of(config: IAAConfig, base: BaseBank, head: HeadBank, dtype: torch.dtype) -> Stack:
    blocks = list(base.layers)
    if isinstance(head, AdaptorBank):
        blocks = interleave(blocks, list(head.layers), config.iaa_insert_layers)
    return Stack(config, head.embed_tokens, blocks, head.norm, head.lm_head, dtype, CUDA)


def small(config: IAAConfig, layers: int = 4) -> IAAConfig:
    """The same widths, few blocks."""
    return dataclasses.replace(config, num_hidden_layers=layers, iaa_insert_layers=(0, 1))


def to_host(*tensors: Tensor) -> tuple[list[Any], ...]:
    """Any tokens but the end's."""

    def lists(shape: torch.Size) -> list[Any]:
        return [lists(shape[1:]) for _ in range(shape[0])] if len(shape) > 1 else list(range(5, 5 + shape[0]))

    return tuple(lists(tensor.shape) for tensor in tensors)


class Eager(BoxGrammar):
    """Always drafts as much as there may be drafted."""

    def draft(self, state: int) -> list[int]:
        """Four tokens, one less at times, so that rows are padded."""
        return [20, 21, 22, 23][: 3 + state % 2]


SEEN, ASKED = (1,) * 30 + (-200,), (5,) * 33
CASES: dict[str, tuple[list[tuple[int, ...]], int, dict[str, Any]]] = {
    "one image": ([SEEN + ASKED], 512, {}),
    "images": ([SEEN + ASKED[n:] for n in range(4)], 64, {}),
    "phrases on one image": ([(*SEEN, n, *ASKED[n:]) for n in range(8)], 128, {}),
    "a long text": ([(1,) * 4000], 512, {}),
    "texts of unequal length": ([(1,) * n for n in (300, 200, 100)], 64, {}),
    "sampling": (
        [(n,) * 9 for n in range(8)],
        4,
        {"do_sample": True, "top_k": 9, "top_p": 0.9, "repetition_penalty": 2},
    ),
    "beams": ([SEEN + ASKED], 3, {"num_beams": 4}),
    "drafts": ([(n,) * 9 for n in range(8)], 16, {}),
}
"""Prompts, new tokens, and how they are chosen."""

DEEP = ("one image", "a long text")
"""With enough blocks that the cache is the larger part, where the formula must be near."""


@pytest.mark.parametrize(
    ("case", "dtype"), [*((case, torch.bfloat16) for case in CASES), ("one image", torch.float32)], ids=str
)
def test_an_answer_takes_what_is_said(
    case: str, dtype: torch.dtype, published: IAAConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (beam, drafting, loop):
        monkeypatch.setattr(module, "to_host", to_host)
    rows, new, options = CASES[case]
    config = small(published, 16 if case in DEEP else 4)
    settings = GenerationConfig.for_task(Task.MM, max_new_tokens=new, **options)
    grammar = Eager(dict(enumerate("[]0123456789.,; ", 20)), config.vocab_size, 2) if case == "drafts" else None
    heard: Counter[int] = Counter()

    def few(row: int, token: int) -> bool:
        heard[row] += 1
        return heard[row] > 12

    task = Task.TEXT if case == "a long text" else Task.MM
    with banks(config, dtype, "base", task.stack_bank) as (memory, (base, head)):
        stack = stack_of(config, base, head, dtype)
        shape = (576, config.hidden_size)
        images = [torch.empty(shape, dtype=dtype, device=CUDA) if -200 in ids else None for ids in rows]
        if case == "phrases on one image":
            images = images[:1] * len(rows)
        prompts = list(map(Prompt, rows, images))
        if settings.num_beams > 1:
            beam.beam_search(stack, prompts, settings, [2])
        else:
            loop.generate(stack, prompts, settings, [2], constraint=grammar, on_token=few)
    longest = max(prompt.length for prompt in prompts)
    said = generation_bytes(config, task, len(prompts), longest, new, dtype, settings.num_beams)
    assert (0.9 if case in DEEP else 0.4) * said < memory.peak <= said


@pytest.mark.parametrize("images", [1, 8])
def test_seeing_takes_what_is_said(images: int, published: IAAConfig) -> None:
    vision, dtype = VisionConfig(), torch.bfloat16
    with banks(small(published), dtype, "vision", "mm") as (memory, modules):
        tower: VisionBank = modules[0]
        pixels = torch.empty((images, 3, vision.image_size, vision.image_size), dtype=dtype, device=CUDA)
        features = tower(pixels)
        assert 0.6 * vision_bytes(vision, images, dtype) < memory.peak <= vision_bytes(vision, images, dtype)
        del pixels
        before, memory.peak = memory.taken - features.nbytes, 0
        modules[1].projector(features)
    said = projection_bytes(published, images * vision.num_patches, dtype)
    assert 0.6 * said < memory.peak - before <= said
