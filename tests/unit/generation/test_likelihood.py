"""Likelihoods of given answers: those of a plain forward over prompt and answer."""

from __future__ import annotations

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from torch import Tensor

from iaa_runtime import IAAModel
from iaa_runtime.errors import Cancelled, ContextLengthError, NumericsError
from iaa_runtime.generation import likelihood
from iaa_runtime.generation.prefill import Prompt

ANSWERS = [[7], [7, 9], [3, 4, 5, 6, 8], [11]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> IAAModel:
    return IAAModel.from_pretrained(make_checkpoint(tmp_path_factory.mktemp("rated") / "checkpoint", Geometry()))


def plain(model: IAAModel, prompt: Prompt, answer: list[int], pixels: Tensor | None) -> float:
    """The mean over the answer's tokens, out of the logits of all of it."""
    ids = torch.tensor([[*prompt.ids, *answer]])
    logits = model(ids, pixels, task="MM")[0].log_softmax(-1)[-len(answer) - 1 : -1]
    return logits.gather(1, torch.tensor(answer)[:, None]).mean().item()


@pytest.mark.parametrize("chunk", [1024, 4])
def test_likelihoods_are_those_of_a_plain_forward(model: IAAModel, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "CHUNK_TOKENS", chunk)
    size = model.vision.image_size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    first, second = model.encode_images(pixels)
    seeing = [Prompt((5, -200, 6, 2), first), Prompt((5, -200, 8), first), Prompt((-200, 3, 1, 1, 4), second)]
    shown = [pixels[:1], pixels[:1], pixels[1:]]
    blind = [Prompt((5, 6)), Prompt((5, 6, 7, 8, 9))]
    for prompts, pictures in ((seeing, shown), (seeing[:1], shown[:1]), (blind, [None, None])):
        rated = model.rate(prompts, "MM", ANSWERS)
        for prompt, picture, means in zip(prompts, pictures, rated, strict=True):
            assert means == pytest.approx([plain(model, prompt, answer, picture) for answer in ANSWERS], abs=1e-5)


def test_answers_of_a_token_need_no_second_pass(model: IAAModel) -> None:
    rated = model.rate([Prompt((5, 6, 7))], "Text", [[1], [2]])
    logits = model(torch.tensor([[5, 6, 7]]), task="Text")[0, -1].log_softmax(-1)
    assert rated == [pytest.approx(logits[[1, 2]].tolist(), abs=1e-5)]


def test_prompt_and_answer_fit_the_context_together(model: IAAModel) -> None:
    context = model.config.max_position_embeddings
    model.rate([Prompt((5,) * (context - 2))], "Text", [[1], [2, 3]])
    with pytest.raises(
        ContextLengthError, match=f"{context - 1} tokens .* context is {context} and the longest choice has 2"
    ):
        model.rate([Prompt((5,) * (context - 1))], "Text", [[1], [2, 3]])
    with pytest.raises(
        ContextLengthError, match=rf"context is {context} and .* has {context + 50}\. Shorten the choice"
    ):
        model.rate([Prompt((5,))], "Text", [[1], [2] * (context + 50)])


def test_it_can_be_cancelled(model: IAAModel) -> None:
    with pytest.raises(Cancelled):
        model.rate([Prompt((5, 6))], "Text", ANSWERS, cancelled=lambda: True)


def test_nan_is_no_likelihood(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = IAAModel.from_pretrained(make_checkpoint(tmp_path_factory.mktemp("nan") / "checkpoint", Geometry()))
    model.bank("text").get_parameter("norm.weight").fill_(float("nan"))
    with pytest.raises(NumericsError):
        model.rate([Prompt((5, 6))], "Text", ANSWERS)
