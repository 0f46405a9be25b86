"""Decode steps of unchanging shapes against plain ones; the capture itself only where there is a GPU."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_cuda import CUDA, on_fake_cuda
from make_checkpoint import make_checkpoint
from torch import Tensor
from torch._subclasses import FakeTensorMode

from iaa_runtime import GenerationConfig, IAAModel
from iaa_runtime.generation import decode
from iaa_runtime.generation.decode import EagerSteps, FixedStep, FixedSteps, Graphs, MakeSteps
from iaa_runtime.generation.loop import generate
from iaa_runtime.generation.prefill import Prompt, prefill
from iaa_runtime.model.fixed_kv_cache import FixedCache
from iaa_runtime.model.kv_cache import KVCache
from iaa_runtime.model.stack import Stack

RAGGED = [(1, 2, 3, 4, 5), (1, 9), (7, 7, 7)]
SHARED = [(1, 2, 3, 4, 5), (1, 2, 3, 9), (1, 2, 3, 7, 7, 7)]
ALIKE = [(4, 5, 6), (6, 5, 4)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return IAAModel.from_pretrained(make_checkpoint(tmp_path_factory.mktemp("decode") / "checkpoint")).stack("MM")


class Counted(FixedStep):
    """Counts how many were made, as a capture is."""

    made = 0

    def __init__(self, stack: Stack, rows: int, capacity: int) -> None:
        super().__init__(stack, rows, capacity)
        type(self).made += 1


@pytest.fixture
def counted() -> type[Counted]:
    Counted.made = 0
    return Counted


def run(make: MakeSteps, stack: Stack, ids: list[tuple[int, ...]], count: int) -> list[Tensor]:
    """Logits step by step of greedy decoding; two of three times a third of the way on, a row leaves."""
    cache, logits = prefill(stack, [Prompt(row) for row in ids], count)
    for tensor in (*cache.keys, *cache.values):
        tensor[:, :, cache.columns :] = float("nan")  # as memory fresh from the system may be
    steps = make(stack, cache)
    seen = [logits]
    for step in range(count):
        tokens = seen[-1].argmax(-1)
        if step in (count // 3, count // 2) and len(tokens) > 1:
            keep = torch.arange(1, len(tokens), device=tokens.device)
            steps.select(keep)
            tokens = tokens[1:]
        seen.append(steps(tokens))
    return seen


@pytest.mark.parametrize("ids", [RAGGED, SHARED, ALIKE], ids=["ragged", "shared prefix", "alike"])
def test_fixed_steps_are_plain_steps(stack: Stack, ids: list[tuple[int, ...]]) -> None:
    with torch.no_grad():
        plain, fixed = run(EagerSteps, stack, ids, 8), run(Graphs(FixedStep), stack, ids, 8)
    for one, other in zip(plain, fixed, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


def test_an_answer_around_another_one_keeps_its_cache(stack: Stack, counted: type[Counted]) -> None:
    """As in an application's threads, or where what hears each token asks again: both wrote into one cache."""
    config = GenerationConfig(max_new_tokens=6)
    first, second = [Prompt(RAGGED[0])], [Prompt(RAGGED[2])]
    alone = [generate(stack, prompts, config, [], steps=EagerSteps)[0].ids for prompts in (first, second)]
    graphs, inner = Graphs(counted), []

    def asks_again(row: int, token: int) -> None:
        inner.append(generate(stack, second, config, [], steps=graphs)[0].ids)

    outer = generate(stack, first, config, [], steps=graphs, on_token=asks_again)[0].ids
    assert [outer, inner[1]] == alone and all(ids == inner[1] for ids in inner)
    cache, _ = prefill(stack, first, 6)
    assert isinstance(graphs(stack, cache), FixedSteps) and counted.made == 1, (
        "what is not in use any more serves the next"
    )


def test_nothing_of_a_bank_is_kept_once_it_is_unloaded(counted: type[Counted], stack: Stack) -> None:
    """The head stayed in memory: 1 GB at the published size, each time that ComfyUI asked for room."""
    graphs, own = Graphs(counted), replace(stack, lm_head=copy.deepcopy(stack.lm_head))
    with torch.no_grad():
        run(graphs, own, ALIKE, 3)
    head = weakref.ref(own.lm_head)
    graphs.clear()
    del own
    gc.collect()
    assert head() is None


def test_one_capture_serves_later_answers(
    stack: Stack, counted: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "COLUMNS", 16)
    graphs = Graphs(counted)
    with torch.no_grad():
        for ids, count in ((RAGGED, 8), (SHARED, 3), (RAGGED, 10)):
            plain, fixed = run(EagerSteps, stack, ids, count), run(graphs, stack, ids, count)
            for one, other in zip(plain, fixed, strict=True):
                torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
        assert counted.made == 1
        run(graphs, stack, ALIKE, 3)
        assert counted.made == 2, "other rows, other shapes"
        run(graphs, stack, ALIKE, decode.COLUMNS - 2)
        assert counted.made == 3, "more columns than it has"
        graphs.clear()
        run(graphs, stack, ALIKE, 3)
        assert counted.made == 4


def test_numbers_of_an_earlier_answer_do_not_matter(stack: Stack, counted: type[Counted]) -> None:
    graphs = Graphs(counted)
    with torch.no_grad():
        wanted = run(graphs, stack, ALIKE, 8)
        (step,) = graphs._kept.values()
        for tensor in (*step.cache._cache.keys, *step.cache._cache.values):
            tensor.fill_(float("nan"))
        again = run(graphs, stack, ALIKE, 8)
    assert counted.made == 1
    for one, other in zip(wanted, again, strict=True):
        torch.testing.assert_close(other, one)


def test_answers_are_the_same(stack: Stack, counted: type[Counted]) -> None:
    prompts, config = [Prompt(row) for row in RAGGED], GenerationConfig.for_task("Text", max_new_tokens=20)
    with torch.no_grad():
        plain, fixed = (generate(stack, prompts, config, [7], steps=steps) for steps in (EagerSteps, Graphs(counted)))
    assert [answer.ids for answer in plain] == [answer.ids for answer in fixed]
    assert counted.made == 1


def test_a_full_cache_says_so(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "COLUMNS", 1)
    cache, logits = prefill(stack, [Prompt((1, 2))], 1)
    steps = Graphs(FixedStep)(stack, cache)
    steps(logits.argmax(-1))
    with pytest.raises(ValueError, match="all are full"):
        steps(logits.argmax(-1))


def test_a_fixed_cache_takes_one_token_a_row() -> None:
    cache = FixedCache(KVCache(1, 1, 4, 1, 2, torch.float32, torch.device("cpu")))
    with pytest.raises(ValueError, match="one token a row"):
        cache.extend(2)


def test_fixed_steps_stay_on_their_device(tmp_path: Path) -> None:
    model = IAAModel.from_pretrained(make_checkpoint(tmp_path / "checkpoint"), torch.bfloat16, CUDA)
    with on_fake_cuda(FakeTensorMode(allow_non_fake_inputs=True)):
        logits = run(Graphs(FixedStep), model.stack("Text"), RAGGED, 8)
    assert {(each.device, each.shape[1]) for each in logits} == {(CUDA, 384)}


def test_the_cpu_captures_nothing(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    assert IAAModel.from_pretrained(folder, cuda_graphs=True).steps is EagerSteps
    assert IAAModel.from_pretrained(folder, device=CUDA, dtype=torch.float16, cuda_graphs=False).steps is EagerSteps
    assert isinstance(
        IAAModel.from_pretrained(folder, device=CUDA, dtype=torch.float16, cuda_graphs=True).steps, Graphs
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
def test_a_captured_step_is_a_plain_step(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    said = []
    for graphs in (False, True):
        model = IAAModel.from_pretrained(folder, torch.float32, "cuda", cuda_graphs=graphs)
        for ids in ([[1, 2, 3], [4, 5, 6]], [[7, 8], [9, 10]]):
            said.append(model.generate(torch.tensor(ids), task="Text", max_new_tokens=20))
        model.unload()
        said.append(model.generate(torch.tensor([[1, 2, 3]]), task="Text", max_new_tokens=20))
    assert all(map(torch.equal, said[:3], said[3:]))


def test_a_step_that_cannot_be_captured_is_run_plainly(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    class Refused(FixedStep):
        def __init__(self, stack: Stack, rows: int, capacity: int) -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

    with torch.no_grad():
        plain, ours = run(EagerSteps, stack, ALIKE, 4), run(Graphs(Refused), stack, ALIKE, 4)
    assert all(torch.equal(one, other) for one, other in zip(plain, ours, strict=True))
    assert "not permitted" in caplog.text
