"""Prompts: what they hold, what they share, and whether they fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from make_checkpoint import Geometry, make_checkpoint
from torch import Tensor

from iaa_runtime import IAAModel
from iaa_runtime.errors import Cancelled, ContextLengthError, InputError
from iaa_runtime.generation import prefill as prefill_module
from iaa_runtime.generation.prefill import Prompt, check_context, pad_left, prefill, shared_prefixes
from iaa_runtime.model.stack import Stack

IMAGE, OTHER = torch.zeros(4, 32), torch.ones(4, 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> IAAModel:
    return IAAModel.from_pretrained(make_checkpoint(tmp_path_factory.mktemp("prefill") / "checkpoint", Geometry()))


def test_a_prompt_counts_the_patches() -> None:
    assert Prompt((1, -200, 2), IMAGE).length == 6
    assert Prompt((1, 2)).length == 2


@pytest.mark.parametrize(
    ("ids", "image", "said"),
    [
        ((), None, "empty"),
        ((1, -200), None, "1 image marks .* no image was given"),
        ((1, 2), IMAGE, "0 image marks .* an image was given"),
        ((-200, -200), IMAGE, "2 image marks"),
    ],
)
def test_marks_and_images_go_together(ids: tuple[int, ...], image: torch.Tensor | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Prompt(ids, image)


def test_a_prompt_longer_than_the_context_is_told_both_numbers() -> None:
    check_context([Prompt((1,) * 9)], 10)
    with pytest.raises(ContextLengthError, match=r"Prompt 2 has 10 tokens .* context is 10"):
        check_context([Prompt((1,)), Prompt((1,) * 6 + (-200,), IMAGE)], 10)


def test_the_model_refuses_such_a_prompt(model: IAAModel) -> None:
    with pytest.raises(ContextLengthError, match=r"512 tokens .* 512"):
        model.generate(torch.ones(1, 512, dtype=torch.long), task="Text")


def test_padding_is_on_the_left() -> None:
    padded, real = pad_left([torch.ones(1, 2), torch.ones(3, 2)])
    assert padded[0].tolist() == [[0, 0], [0, 0], [1, 1]]
    assert real is not None
    assert real.tolist() == [[False, False, True], [True, True, True]]
    assert pad_left([torch.ones(2, 2), torch.zeros(2, 2)])[1] is None


def test_rows_on_one_image_share_their_prefix() -> None:
    prompts = [Prompt((5, -200, 6, 7), IMAGE), Prompt((5, -200, 9), OTHER), Prompt((5, -200, 6, 8, 8), IMAGE)]
    prefixes, group = shared_prefixes(prompts)
    assert [prefix.ids for prefix in prefixes] == [(5, -200, 6), (5, -200)]
    assert group == [0, 1, 0]
    assert prefixes[0].image is IMAGE


@pytest.mark.parametrize(
    "prompts",
    [
        [Prompt((1, 2)), Prompt((3, 4))],
        [Prompt((1, -200, 5), IMAGE), Prompt((2, -200, 5), IMAGE)],
        [Prompt((1, -200), IMAGE), Prompt((1, -200, 5), IMAGE)],
        [Prompt((1, -200, 5), IMAGE), Prompt((1, -200, 5), OTHER)],
    ],
    ids=["nothing alike", "the image behind the prefix", "a row that ends at its image", "an image each"],
)
def test_nothing_is_shared_where_the_image_is_not(prompts: list[Prompt]) -> None:
    assert shared_prefixes(prompts) == ([], [])


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 2), max_size=4), st.integers(0, 3)), min_size=1, max_size=6
    )
)
def test_prefixes_and_rests_make_up_the_prompts(rows: list[tuple[bool, list[int], int]]) -> None:
    prompts = [Prompt((*ids[:at], -200, *ids[at:]), IMAGE) if sees else Prompt((*ids, at)) for sees, ids, at in rows]
    prefixes, group = shared_prefixes(prompts)
    assert len(group) == (len(prompts) if prefixes else 0)
    for prompt, number in zip(prompts, group, strict=False):
        prefix = prefixes[number]
        assert prompt.ids[: len(prefix.ids)] == prefix.ids
        assert len(prefix.ids) < len(prompt.ids), "a row needs a token of its own, for its logits"
        assert prefix.image is prompt.image


def test_a_shared_front_of_nothing_but_the_image(model: IAAModel) -> None:
    image = torch.randn(4, 32)
    prompts = [Prompt((-200, 1), image), Prompt((-200, 2), image)]
    stack = model.stack("MM")
    with torch.no_grad():
        together = prefill(stack, prompts, 1)[1]
        alone = torch.cat([prefill(stack, [prompt], 1)[1] for prompt in prompts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert len(prefill(stack, [Prompt((-200,), image)], 1)[0].tokens) == 1


def test_cancelling_stops_between_chunks(model: IAAModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill_module, "CHUNK_TOKENS", 10)
    asked = []

    def third_time() -> bool:
        asked.append(True)
        return len(asked) == 3

    ids = torch.ones(1, 100, dtype=torch.long)
    with pytest.raises(Cancelled):
        model.generate(ids, task="Text", max_new_tokens=5, cancelled=third_time)
    assert len(asked) == 3, "ten pieces there are; the third was never read"


@pytest.mark.parametrize("piece", [1, 7, 16, 1 << 20])
def test_rows_read_in_groups_and_pieces_say_the_same(
    model: IAAModel, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many tokens at once as asked for, however the rows have to be divided, and no others in the cache for it."""
    prompts = [Prompt((1, -200, *range(3, 3 + count)), torch.randn(4, 32)) for count in (1, 6, 3, 4, 2)]
    stack, read = model.stack("MM"), []
    with torch.no_grad():
        alone = [prefill(stack, [prompt], 1) for prompt in prompts]
    hidden = Stack.hidden

    def seen(self: Stack, embedded: Tensor, *given: Any) -> Tensor:
        read.append(embedded.shape[0] * embedded.shape[1])
        return hidden(self, embedded, *given)

    monkeypatch.setattr(prefill_module, "CHUNK_TOKENS", piece)
    monkeypatch.setattr(Stack, "hidden", seen)
    with torch.no_grad():
        cache, logits = prefill(stack, prompts, 1)
        following = stack.logits(stack.hidden(stack.embed(torch.tensor([[9]] * 5)), cache)[:, -1])
        after = [stack.logits(stack.hidden(stack.embed(torch.tensor([[9]])), c)[:, -1]) for c, _ in alone]
    assert max(read) <= max(piece, 5)
    assert sum(read[: -1 - len(prompts)]) == 5 * 11, "every row at the length of the longest, once"
    torch.testing.assert_close(logits, torch.cat([one for _, one in alone]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(following, torch.cat(after), atol=1e-5, rtol=1e-5)
