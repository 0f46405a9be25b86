"""The token loop: limits, ends, cancelling, seeds, callbacks, rows that retire."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint

from iaa_runtime import IAAModel
from iaa_runtime.boxes.answers import parse_boxes
from iaa_runtime.config import GenerationConfig
from iaa_runtime.errors import Cancelled, InputError
from iaa_runtime.generation.grammar import BoxGrammar
from iaa_runtime.generation.host import to_host
from iaa_runtime.generation.prefill import Prompt
from iaa_runtime.generation.rows import Answer

PROMPT = Prompt((5, 6, 7))
CONTEXT = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> IAAModel:
    folder = tmp_path_factory.mktemp("generation") / "checkpoint"
    return IAAModel.from_pretrained(make_checkpoint(folder, Geometry(context=CONTEXT)))


def answer(model: IAAModel, *prompts: Prompt, eos: tuple[int, ...] = (), **options: Any) -> list[Answer]:
    """Answers by the Text task; callbacks go to the loop, all else to the config."""
    callbacks = {name: options.pop(name) for name in ("on_token", "cancelled", "constraint") if name in options}
    return model.answer(prompts, "Text", GenerationConfig(**options), eos, **callbacks)


def test_the_end_token_ends_and_is_kept(model: IAAModel) -> None:
    (free,) = answer(model, PROMPT, max_new_tokens=8)
    assert (len(free.ids), free.finished) == (8, False)
    end = free.ids[3]
    (ended,) = answer(model, PROMPT, max_new_tokens=8, eos=(end,))
    assert ended.ids == free.ids[: free.ids.index(end) + 1]
    assert ended.finished


def test_log_probabilities_are_the_models_own(model: IAAModel) -> None:
    (got,) = answer(model, PROMPT, max_new_tokens=4, do_sample=True, temperature=3.0, seed=1, repetition_penalty=1.5)
    logits = model(torch.tensor([[*PROMPT.ids, *got.ids]]), task="Text")[0, len(PROMPT.ids) - 1 : -1]
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(got.ids)[:, None])[:, 0]
    assert got.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_each_row_has_its_own_room(model: IAAModel) -> None:
    long = Prompt((9,) * (CONTEXT - 3))
    answers = answer(model, long, PROMPT, max_new_tokens=10)
    assert [len(a.ids) for a in answers] == [3, 10]
    assert answers[1].ids == answer(model, PROMPT, max_new_tokens=10)[0].ids


@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True, "temperature": 2.0}, {"repetition_penalty": 1.7}, {"num_beams": 3}]
)
def test_rows_that_end_early_leave_the_others_alone(model: IAAModel, options: dict[str, Any]) -> None:
    prompts = [Prompt((n, n + 1, *range(n % 4))) for n in (10, 50, 91, 130, 200)] + [Prompt((9,) * (CONTEXT - 2))]
    free = [answer(model, prompt, max_new_tokens=12, **options)[0].ids for prompt in prompts]
    ends = tuple(ids[2 * number] for number, ids in enumerate(free[:4]))
    alone = [answer(model, prompt, max_new_tokens=12, eos=ends, **options)[0] for prompt in prompts]
    assert len({len(a.ids) for a in alone}) >= 3, "rows must end at different steps for this to show anything"
    together = answer(model, *prompts, max_new_tokens=12, eos=ends, **options)
    assert [a.ids for a in together] == [a.ids for a in alone]
    assert [a.finished for a in together] == [a.finished for a in alone]


def test_on_token_sees_each_token_once_and_may_end_a_row(model: IAAModel) -> None:
    other = Prompt((100, 101))
    free = [answer(model, prompt, max_new_tokens=6)[0].ids for prompt in (PROMPT, other)]
    seen: dict[int, list[int]] = {0: [], 1: []}

    def listen(row: int, token: int) -> bool:
        seen[row].append(token)
        return row == 0 and len(seen[0]) == 2

    answers = answer(model, PROMPT, other, max_new_tokens=6, on_token=listen)
    assert [a.ids for a in answers] == [free[0][:2], free[1]] == [seen[0], seen[1]]
    assert [a.finished for a in answers] == [True, False]


@pytest.mark.parametrize("beams", [1, 3])
def test_cancelling_stops_within_a_token(model: IAAModel, beams: int) -> None:
    seen: list[int] = []
    with pytest.raises(Cancelled):
        answer(
            model,
            PROMPT,
            max_new_tokens=30,
            num_beams=beams,
            on_token=lambda row, token: seen.append(token),
            cancelled=lambda: len(seen) >= 4,
        )
    assert len(seen) == 4


def test_the_same_seed_says_the_same_and_another_one_else(model: IAAModel) -> None:
    said = [
        answer(model, PROMPT, max_new_tokens=20, do_sample=True, seed=seed, temperature=1.5)[0].ids
        for seed in (1, 1, 2)
    ]
    assert said[0] == said[1] != said[2]


def test_a_seed_means_the_same_whatever_came_before(model: IAAModel) -> None:
    torch.manual_seed(0)
    first = answer(model, PROMPT, max_new_tokens=20, do_sample=True, seed=3)[0].ids
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert answer(model, PROMPT, max_new_tokens=20, do_sample=True, seed=3)[0].ids == first
    assert torch.equal(torch.get_rng_state(), before), "the caller's generator is left alone"


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-6}], ids=str)
def test_sampling_from_one_token_is_greedy(model: IAAModel, options: dict[str, Any]) -> None:
    greedy = answer(model, PROMPT, max_new_tokens=10)[0].ids
    assert answer(model, PROMPT, max_new_tokens=10, do_sample=True, seed=4, **options)[0].ids == greedy


def test_a_huge_repetition_penalty_never_repeats(model: IAAModel) -> None:
    (got,) = answer(model, PROMPT, max_new_tokens=30, repetition_penalty=1e6)
    assert len({*got.ids, *PROMPT.ids}) == len(got.ids) + len(PROMPT.ids)


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "temperature": 3.0, "top_k": 1}], ids=str)
@pytest.mark.parametrize("budget", [10, 11, 13, 18, 23, 30])
def test_rows_under_a_grammar_end_within_their_own_room(model: IAAModel, budget: int, options: dict[str, Any]) -> None:
    characters = "[]0123456789.,; "
    end = 300
    grammar = BoxGrammar({100 + n: character for n, character in enumerate(characters)}, 384, end)
    prompts = [Prompt((n, 5, 6)) for n in range(4)] + [Prompt((9,) * (CONTEXT - 12))]
    answers = answer(model, *prompts, max_new_tokens=budget, eos=(end,), constraint=grammar, **options)
    for got in answers:
        assert got.finished
        assert len(got.ids) <= budget
        assert parse_boxes("".join(characters[i - 100] for i in got.ids[:-1]))
    assert len(answers[-1].ids) <= 12


def test_generate_pads_behind_the_end(model: IAAModel) -> None:
    ids = torch.tensor([[5, 6, 7], [100, 101, 102]])
    free = model.generate(ids, task="Text", max_new_tokens=6)
    end = int(free[0, 1])
    assert end not in free[1].tolist()
    padded = model.generate(ids, task="Text", max_new_tokens=6, eos_token_id=end, pad_token_id=3)
    assert padded[0].tolist() == [*free[0].tolist()[: free[0].tolist().index(end) + 1], 3, 3, 3, 3][:6]
    assert padded[1].tolist() == free[1].tolist()


@pytest.mark.parametrize(
    ("ids", "pixels", "task", "said"),
    [
        ([1, 2], None, "Text", r"shape \[2\]; it must be \(B, T\)"),
        ([[1, 384]], None, "Text", "384 is outside the vocabulary of 384"),
        ([[1, -1]], None, "Text", "-1 is outside"),
        ([[1, -200]], None, "MM", "1 image marks"),
        ([[1, 2]], (1, 3, 28, 28), "MM", "0 image marks"),
        ([[1, -200]], (2, 3, 28, 28), "MM", "1 prompts, but 2 images"),
        ([[1, -200]], (1, 3, 14, 28), "MM", r"takes \(B, 3, 28, 28\)"),
        ([[1, -200]], (1, 3, 28, 28), "Text", "Text task takes no image"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    model: IAAModel, ids: list[Any], pixels: tuple[int, ...] | None, task: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        model(torch.tensor(ids), torch.zeros(pixels) if pixels else None, task=task)


def test_what_the_host_gets_is_exact() -> None:
    said = torch.tensor([-0.1, float("-inf"), -1e-30])
    assert to_host(torch.tensor([0, 128255, 2**31 - 1]), said) == ([0, 128255, 2**31 - 1], said.tolist())
