"""Every workflow, precision and cache on CUDA, without a GPU: no tensor is on the wrong device, none stays behind.

Tensors there are fake (see ``fake_cuda``), from the loading of the weights on. The one place where decoding waits for
the device, ``to_host``, gives random tokens instead; whatever else would wait for it raises.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_cuda import COMPUTING, CUDA, alive_on_cuda, inside
from make_adaptor import random_adaptor
from make_checkpoint import Geometry, make_checkpoint
from PIL import Image
from torch import Tensor
from torch._subclasses import FakeTensorMode

from iaa_runtime import GenerationConfig, IAAModel, IAAPipeline, Task
from iaa_runtime.errors import Cancelled
from iaa_runtime.generation import beam, drafting, loop, prefill
from iaa_runtime.model.linear import comfy_kitchen, fp8
from iaa_runtime.model.linear.int4_cuda import kernel_for
from iaa_runtime.model.linear.int4_tiled import can_multiply_tiles
from iaa_runtime.pipeline.base import Question, Request
from iaa_runtime.text.prompts import grounding_question

FORMATS = {
    "fp32": (torch.float32, None),
    "bf16": (torch.bfloat16, None),
    "fp16": (torch.float16, None),
    "fp8": (torch.bfloat16, "fp8"),
    "int8": (torch.bfloat16, "int8"),
    "int8 in fp16": (torch.float16, "int8"),
    "int4": (torch.bfloat16, "int4"),
}
PICTURES = [Image.new("RGB", (40, 30), "red"), Image.new("RGB", (30, 60), "blue")]
EOS = 260


class Host:
    """Stands for ``to_host``: random tokens and log-probabilities, an answer's end now and then."""

    def __init__(self) -> None:
        self.chance, self.asked = random.Random(0), 0

    def __call__(self, *tensors: Tensor) -> tuple[list[Any], ...]:
        self.asked += 1
        assert {each.device for each in tensors} == {CUDA}
        assert len({each.shape for each in tensors}) == 1
        return tuple(self._lists(each.shape, each.is_floating_point()) for each in tensors)

    def _lists(self, shape: torch.Size, is_floating: bool) -> Any:
        if len(shape) > 1:
            return [self._lists(shape[1:], is_floating) for _ in range(shape[0])]
        if is_floating:
            return [-self.chance.random() for _ in range(shape[0])]
        first = self.chance.randrange(32)  # small, since states of the grammar are asked for, too
        return self.chance.sample([EOS, *range(first, first + 8)], shape[0])


@pytest.fixture(autouse=True)
def forgotten_devices() -> Iterator[None]:
    """What is remembered of a device is forgotten before and after: here each test has another under the same name."""
    remembering = (fp8._multiplies, can_multiply_tiles, kernel_for, comfy_kitchen._kitchen)
    for function in remembering:
        function.cache_clear()
    yield
    for function in remembering:
        function.cache_clear()


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Puts the computing methods of models onto the fake device; returns what decoding asked of the host."""
    mode, host = FakeTensorMode(allow_non_fake_inputs=True), Host()
    for name in COMPUTING:
        monkeypatch.setattr(IAAModel, name, inside(mode, getattr(IAAModel, name)))
    for module in (beam, drafting, loop):
        monkeypatch.setattr(module, "to_host", host)
    return host


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(
        tmp_path_factory.mktemp("cuda") / "checkpoint",
        Geometry(hidden_size=128, intermediate_size=256, context=640, layers=2, insert_layers=(0,), vision_layers=2),
    )


@pytest.fixture
def open_as(folder: Path) -> Iterator[Callable[[str], IAAPipeline]]:
    """Opens the checkpoint in a format. When a test ends, weights alone are left on the device."""
    pipelines: list[IAAPipeline] = []

    def open_it(form: str) -> IAAPipeline:
        dtype, precision = FORMATS[form]
        pipelines.append(IAAPipeline.from_pretrained(folder, dtype, CUDA, precision=precision, cuda_graphs=False))
        return pipelines[-1]

    yield open_it
    banks = [pipeline.model.bank(bank) for pipeline in pipelines for bank in pipeline.model.loaded_banks]
    weights = [tensor for bank in banks for tensor in (*bank.parameters(), *bank.buffers())]
    assert weights and {tensor.device for tensor in weights} == {CUDA}
    assert {id(tensor) for tensor in alive_on_cuda()} == {id(tensor) for tensor in weights}


@pytest.fixture
def pipeline(open_as: Callable[[str], IAAPipeline]) -> IAAPipeline:
    return open_as("bf16")


@pytest.mark.parametrize("capability", [(7, 5), (9, 0)], ids=["Turing", "Hopper"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_answers_every_task(
    form: str,
    capability: tuple[int, int],
    open_as: Callable[[str], IAAPipeline],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the card multiplies 8-bit floats or not."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fp8._multiplies(CUDA) is (capability >= (8, 9)), "each card is asked anew"
    pipeline = open_as(form)
    pipeline.caption(PICTURES, max_new_tokens=3)
    pipeline.ground(PICTURES[:1], ["a", "the other one"], max_new_tokens=12)
    pipeline.text("Hello", max_new_tokens=4)
    assert host.asked > 6


@pytest.mark.parametrize("form", FORMATS)
def test_adaptors_are_where_the_model_computes(
    form: str,
    folder: Path,
    open_as: Callable[[str], IAAPipeline],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    pipeline = open_as(form)
    for task in ("MM", "G"):
        pipeline.adaptors.load(random_adaptor(folder, task), 0.5)
    pipeline.adaptors.load(random_adaptor(folder, "G", rank=3), -1)
    pipeline.caption(PICTURES, max_new_tokens=3)
    pipeline.ground(PICTURES[:1], ["a", "the other one"], max_new_tokens=12)
    assert host.asked > 4
    pipeline.adaptors.clear()  # or they would be among what is left on the device


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": True, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2},
        {"repetition_penalty": 1.2},
        {"num_beams": 3},
        {"num_beams": 2, "repetition_penalty": 1.2},
    ],
    ids=str,
)
def test_sampling_penalty_and_beams(options: dict[str, Any], pipeline: IAAPipeline) -> None:
    pipeline.caption(PICTURES, max_new_tokens=4, **options)
    pipeline.text("Hello", max_new_tokens=4, **options)


@pytest.mark.parametrize(
    "options",
    [{"several": False}, {"do_sample": True}, {"repetition_penalty": 1.1}, {"grammar": False}],
    ids=str,
)
def test_boxes(options: dict[str, Any], pipeline: IAAPipeline) -> None:
    pipeline.ground(PICTURES, ["a", "the other one"], max_new_tokens=12, **options)


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("chunk", [100, 1024])
def test_rows_of_unequal_length_and_shared_prefixes(
    chunk: int, beams: int, pipeline: IAAPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefill, "CHUNK_TOKENS", chunk)
    asked = [(0, "What?"), (0, "What is the colour of it?"), (1, "Where?"), (1, "Why?")]
    for rows in (asked, asked[1:3]):  # pictures with several questions, and with one each
        questions = [Question.about(PICTURES[number], text) for number, text in rows]
        config = GenerationConfig.for_task(Task.MM, max_new_tokens=5, num_beams=beams)
        pipeline.answer(questions, Request(Task.MM, config))
    questions = [Question.about(PICTURES[number], grounding_question(text)) for number, text in asked]
    pipeline.answer(
        questions, Request(Task.G, GenerationConfig.for_task(Task.G, max_new_tokens=12), grammar=beams == 1)
    )


def test_logits_and_what_python_offers(pipeline: IAAPipeline) -> None:
    model, pixels = pipeline.model, torch.zeros(2, 3, 28, 28)
    assert model(torch.tensor([[1, 2, -200, 3]] * 2), pixels, "G").device == CUDA
    assert model(torch.tensor([[1, 2, 3]]), task="Text").device == CUDA
    assert model.generate(torch.tensor([[1, -200, 3]] * 2), pixels, "MM", max_new_tokens=3).device.type == "cpu"
    pipeline.chat(PICTURES[0]).say("What?", max_new_tokens=4)


def test_an_answer_that_is_cancelled_leaves_nothing_behind(pipeline: IAAPipeline, host: Host) -> None:
    for task in ("caption", "ground"):
        host.asked = 0
        arguments = (PICTURES, ["a"]) if task == "ground" else (PICTURES,)
        with pytest.raises(Cancelled):
            getattr(pipeline, task)(*arguments, cancelled=lambda: host.asked > 1)


def test_banks_that_are_unloaded_leave_nothing_behind(pipeline: IAAPipeline) -> None:
    pipeline.ground(PICTURES, ["a"], max_new_tokens=12)
    pipeline.model.unload("g", "vision")
    assert pipeline.model.loaded_banks == ("base",)
    # What the fixture finds afterwards is the base alone.


def test_two_devices_share_no_table(folder: Path, open_as: Callable[[str], IAAPipeline]) -> None:
    """Their grammars were one, whose tables the last to start took along."""
    here = IAAPipeline.from_pretrained(folder, torch.float32)
    there = open_as("bf16")
    there.tokenizer = here.tokenizer
    grammars = [pipeline._grammar(True) for pipeline in (here, there)]
    there.ground(PICTURES, ["a"], max_new_tokens=12)
    assert {value.device.type for each in grammars for value in vars(each).values() if isinstance(value, Tensor)} == {
        "cpu"
    }
