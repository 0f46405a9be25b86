"""The reference checkpoint: our logits, features, greedy and beam tokens against what the published code computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stock_models import stock_features, stock_generate, stock_llama, stock_logits
from torch import Tensor

from iaa_runtime import IAAModel, Task
from iaa_runtime.config import GenerationConfig
from iaa_runtime.generation import prefill as prefill_module
from iaa_runtime.generation.prefill import Prompt, embed, prefill

CHECKPOINT = Path(__file__).parents[1] / "reference" / "checkpoint"
GOLDEN = load_file(CHECKPOINT / "golden.safetensors")
BEAMS = load_file(CHECKPOINT / "beams.safetensors")
EOS = 257
TASKS = ["MM", "G", "Text"]
CASES = [f"{task}.{case}" for task in TASKS for case in "ab"]


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative: the norm of the difference by the norm of what was expected."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def inputs(case: str) -> tuple[Tensor, Tensor | None, str]:
    """Ids, pixels (None for Text) and task of a golden."""
    return GOLDEN[f"{case}.input_ids"], GOLDEN.get(f"{case}.pixel_values"), case.partition(".")[0]


@pytest.fixture(scope="module")
def model() -> IAAModel:
    return IAAModel.from_pretrained(CHECKPOINT, dtype=torch.float32)


def test_every_golden_is_used() -> None:
    assert {name.rsplit(".", 1)[0] for name in GOLDEN} == {name.rsplit(".", 1)[0] for name in BEAMS} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_logits(model: IAAModel, case: str) -> None:
    ids, pixels, task = inputs(case)
    assert distance(model(ids, pixel_values=pixels, task=task), GOLDEN[f"{case}.logits"]) <= 1e-5


@pytest.mark.parametrize("case", CASES[:4])
def test_image_features(model: IAAModel, case: str) -> None:
    _, pixels, task = inputs(case)
    assert pixels is not None
    assert distance(model.encode_images(pixels, task=task), GOLDEN[f"{case}.image_features"]) <= 1e-5


@pytest.mark.parametrize("case", CASES)
def test_greedy(model: IAAModel, case: str) -> None:
    ids, pixels, task = inputs(case)
    new = model.generate(ids, pixel_values=pixels, task=task, max_new_tokens=24, eos_token_id=[EOS])
    assert new.tolist() == GOLDEN[f"{case}.greedy"].tolist()


@pytest.mark.parametrize("case", CASES)
def test_beams(model: IAAModel, case: str) -> None:
    ids, pixels, task = inputs(case)
    new = model.generate(
        ids, pixel_values=pixels, task=task, max_new_tokens=24, num_beams=3, do_sample=False, eos_token_id=[EOS]
    )
    assert new.tolist() == BEAMS[f"{case}.beams3"].tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits_stay_close(dtype: torch.dtype) -> None:
    model = IAAModel.from_pretrained(CHECKPOINT, dtype=dtype)
    for case in CASES:
        ids, pixels, task = inputs(case)
        assert distance(model(ids, pixel_values=pixels, task=task), GOLDEN[f"{case}.logits"]) <= 2e-2, case


@pytest.mark.parametrize("task", TASKS)
def test_cached_equals_uncached(model: IAAModel, task: str) -> None:
    ids, pixels, _ = inputs(f"{task}.b")
    whole = model(ids, pixel_values=pixels, task=task)[0]
    stack, row = model.stack(task), ids[0].tolist()
    image = model.encode_images(pixels, task=task)[0] if pixels is not None else None
    first = len(row) - 12
    cache, logits = prefill(stack, [Prompt(tuple(row[:first]), image)], 12)
    seen = [logits[0]]
    with torch.no_grad():
        for token in row[first:]:
            seen.append(stack.logits(stack.hidden(stack.embed(torch.tensor([[token]])), cache))[0, -1])
    assert distance(torch.stack(seen), whole[-13:]) <= 1e-5


@pytest.mark.parametrize("task", TASKS)
def test_prompts_read_in_pieces_equal_the_whole(model: IAAModel, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [make_prompt(model, f"{task}.{case}") for case in "ab"]
    stack = model.stack(task)
    _, whole = prefill(stack, prompts, 1)
    monkeypatch.setattr(prefill_module, "CHUNK_TOKENS", 7)
    cache, pieces = prefill(stack, prompts, 1)
    assert distance(pieces, whole) <= 1e-5
    assert cache.tokens.tolist() == [prompt.length for prompt in prompts]


def make_prompt(model: IAAModel, case: str, ids: list[int] | None = None) -> Prompt:
    """A golden's prompt, or other ids on its image."""
    golden, pixels, task = inputs(case)
    image = model.encode_images(pixels, task=task)[0] if pixels is not None else None
    return Prompt(tuple(ids or golden[0].tolist()), image)


def mixed_batch(model: IAAModel, task: str) -> list[Prompt]:
    """Eight rows of eight lengths; rows on one image share the prefix of their prompts, as phrases do."""
    random = torch.Generator().manual_seed(0)
    first, second = make_prompt(model, f"{task}.a"), make_prompt(model, f"{task}.b")
    if task == "Text":  # without an image, all rows are one group
        second = Prompt(first.ids[:6] + second.ids[6:])

    def extended(prompt: Prompt, count: int) -> Prompt:
        return Prompt((*prompt.ids, *torch.randint(0, 250, (count,), generator=random).tolist()), prompt.image)

    return [first, second, *(extended(first, n) for n in (3, 9, 17)), *(extended(second, n) for n in (1, 6, 30))]


@pytest.mark.parametrize(("task", "shared"), [("MM", True), ("G", True), ("Text", True), ("G", False)])
def test_a_row_of_a_mixed_batch_equals_its_single_run(
    model: IAAModel, task: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared:
        monkeypatch.setattr(prefill_module, "shared_prefixes", lambda prompts: ([], []))
    prompts = mixed_batch(model, task)
    assert bool(prefill_module.shared_prefixes(prompts)[0]) == shared
    stack, config = model.stack(task), GenerationConfig(max_new_tokens=6)
    _, together = prefill(stack, prompts, 1)
    answers = model.answer(prompts, task, config, [EOS])
    for row, prompt in enumerate(prompts):
        _, alone = prefill(stack, [prompt], 1)
        assert distance(together[row], alone[0]) <= 1e-5
        (answer,) = model.answer([prompt], task, config, [EOS])
        assert answers[row].ids == answer.ids, row
        assert answers[row].logprobs == pytest.approx(answer.logprobs, abs=1e-4)


@pytest.mark.parametrize(
    "options", [{"do_sample": True, "temperature": 1.5, "top_p": 0.95, "seed": 3}, {"num_beams": 3}]
)
def test_sampled_and_beam_rows_equal_their_single_runs(model: IAAModel, options: dict[str, float]) -> None:
    prompts = mixed_batch(model, "G")
    config = GenerationConfig(max_new_tokens=5, **options)
    alone = [model.answer([prompt], "G", config, [EOS])[0].ids for prompt in prompts]
    assert [answer.ids for answer in model.answer(prompts, "G", config, [EOS])] == alone


@pytest.mark.parametrize("task", TASKS)
def test_logits_and_greedy_equal_a_stock_llama(model: IAAModel, task: str) -> None:
    stock = stock_llama(CHECKPOINT, task)
    ids, pixels, _ = inputs(f"{task}.b")
    features = GOLDEN.get(f"{task}.b.image_features")
    assert distance(model(ids, pixel_values=pixels, task=task), stock_logits(stock, ids, features)) <= 1e-5
    ours = model.generate(ids, pixel_values=pixels, task=task, max_new_tokens=16, eos_token_id=[EOS])
    assert ours.tolist() == stock_generate(stock, ids, features, max_new_tokens=16, eos_token_id=EOS, do_sample=False)


def test_text_is_the_frozen_llama_to_the_bit_whatever_else_is_loaded() -> None:
    alone, full = (IAAModel.from_pretrained(CHECKPOINT) for _ in range(2))
    full.load()
    ids = GOLDEN["Text.b.input_ids"]
    assert torch.equal(alone(ids, task="Text"), full(ids, task="Text"))
    assert alone.loaded_banks == ("base", "text")
    full(GOLDEN["MM.a.input_ids"], GOLDEN["MM.a.pixel_values"], task="MM")
    assert torch.equal(alone(ids, task="Text"), full(ids, task="Text"))


def test_tower_equals_the_stock_clip(model: IAAModel) -> None:
    pixels = torch.cat([GOLDEN["MM.a.pixel_values"], GOLDEN["G.b.pixel_values"]])
    assert distance(model.vision_features(pixels), stock_features(CHECKPOINT, pixels)) <= 1e-5


def test_tasks_do_not_answer_alike(model: IAAModel) -> None:
    ids = GOLDEN["Text.a.input_ids"]
    logits = [model(ids, task=task) for task in Task]
    assert min(distance(a, b) for a in logits for b in logits if a is not b) > 0.1


def test_embedding_puts_the_features_at_the_mark(model: IAAModel) -> None:
    prompt, stack = make_prompt(model, "MM.a"), model.stack("MM")
    embedded, at = embed(stack, prompt.ids, prompt.image), prompt.ids.index(-200)
    assert prompt.image is not None
    assert torch.equal(embedded[at : at + len(prompt.image)], prompt.image)
    assert len(embedded) == prompt.length
