"""Prefill: prompts into a KV cache, rows of unequal length and several rows on one image, in chunks of bounded size.

Rows that ask different things of one image share a prefix of their prompt (system text, image, question stem). It is
prefilled once, and its keys and values are handed to every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import IMAGE_TOKEN_INDEX
from ..errors import Cancel, ContextLengthError, InputError, check_cancelled
from ..model.kv_cache import KVCache
from ..model.stack import Stack

CHUNK_TOKENS = 1024
"""Tokens of all rows together that go through the blocks at once; bounds the memory of activations."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """One row of a batch.

    Attributes:
        ids: token ids; -200 (``IMAGE_TOKEN_INDEX``) marks where the image's features go, at most once.
        image: projected features (N, H); rows on the same image hold the same tensor object.
    """

    ids: tuple[int, ...]
    image: Tensor | None = None

    def __post_init__(self) -> None:
        marks = self.ids.count(IMAGE_TOKEN_INDEX)
        if not self.ids:
            raise InputError("The prompt is empty. Give at least one token.")
        if marks != (self.image is not None):
            raise InputError(
                f"The prompt has {marks} image marks ({IMAGE_TOKEN_INDEX}), but "
                f"{'an image was' if self.image is not None else 'no image was'} given. Give one image for one mark."
            )

    @property
    def length(self) -> int:
        """Tokens, the image's patches counted."""
        return len(self.ids) + (len(self.image) - 1 if self.image is not None else 0)


def check_context(prompts: Sequence[Prompt], context: int, choices: Sequence[Sequence[int]] = ()) -> None:
    """Raises :class:`ContextLengthError` where a prompt leaves too little of ``context``, in tokens, for its answer.

    That is one token or, of several ``choices``, token ids each, the longest.
    """
    longest = max(map(len, choices), default=1)
    for row, prompt in enumerate(prompts):
        if prompt.length + longest > context:
            answer = f"the longest choice has {longest}" if choices else "the answer needs room too"
            remedy = "choice or the text" if choices else "text or the conversation"
            raise ContextLengthError(
                f"Prompt {row + 1} has {prompt.length} tokens (image patches included), but the model's context is "
                f"{context} and {answer}. Shorten the {remedy}."
            )


def embed(stack: Stack, ids: Sequence[int], image: Tensor | None) -> Tensor:
    """Embeds a row's ids (or a part of them), the image's features in place of the mark. Returns (T, H)."""
    if IMAGE_TOKEN_INDEX not in ids:
        return stack.embed(torch.tensor([list(ids)]))[0]
    assert image is not None
    at = list(ids).index(IMAGE_TOKEN_INDEX)
    words = stack.embed(torch.tensor([list(ids[:at]) + list(ids[at + 1 :])], dtype=torch.long))[0]
    return torch.cat((words[:at], image.to(words), words[at:]))


def pad_left(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Pads (T_i, H) rows on the left. Returns (B, T, H) and ``real`` (B, T) bool, None where nothing was padded."""
    longest = max(len(row) for row in rows)
    if all(len(row) == longest for row in rows):
        return torch.stack(list(rows)), None
    padded = rows[0].new_zeros((len(rows), longest, rows[0].shape[1]))
    real = torch.zeros((len(rows), longest), dtype=torch.bool, device=padded.device)
    for number, row in enumerate(rows):
        padded[number, longest - len(row) :] = row
        real[number, longest - len(row) :] = True
    return padded, real


def run_chunks(stack: Stack, rows: Sequence[Tensor], cache: KVCache, cancelled: Cancel = None) -> Tensor:
    """Runs embedded rows (T_i, H) through the stack, chunk by chunk: as many rows as fit one, or parts of a row.

    Returns the last token's hidden state, (B, H).
    """
    embedded, real = pad_left(rows)
    tokens = embedded.shape[1]
    at_once = max(1, CHUNK_TOKENS // tokens)
    last = []
    for number, part in enumerate(cache.parts(at_once)):
        some = slice(number * at_once, (number + 1) * at_once)
        for start in range(0, tokens, CHUNK_TOKENS):
            check_cancelled(cancelled)
            chunk = slice(start, start + CHUNK_TOKENS)
            hidden = stack.hidden(embedded[some, chunk], part, real[some, chunk] if real is not None else None)
        last.append(hidden[:, -1])
    return torch.cat(last)


def shared_prefixes(prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[int]]:
    """Finds the prefixes that rows share: groups rows by image and takes each group's longest common prefix.

    Returns:
        The prefixes (one a group, each leaving every row of its group at least one token), and each row's group. The
        list of prefixes is empty where nothing is worth sharing.
    """
    groups: dict[int, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(id(prompt.image), []).append(prompt)
    if len(groups) == len(prompts):
        return [], []
    prefixes, numbers = [], {}
    for number, (image, members) in enumerate(groups.items()):
        count = common_ids([member.ids for member in members])
        with_image = IMAGE_TOKEN_INDEX in members[0].ids[:count]
        if count == 0 or (members[0].image is not None and not with_image):
            return [], []
        prefixes.append(Prompt(members[0].ids[:count], members[0].image))
        numbers[image] = number
    return prefixes, [numbers[id(prompt.image)] for prompt in prompts]


def common_ids(rows: Sequence[tuple[int, ...]]) -> int:
    """How many ids all rows begin with; each keeps one at least for itself."""
    first, last, most = min(rows), max(rows), min(map(len, rows)) - 1
    return next((i for i, (a, b) in enumerate(zip(first[:most], last[:most], strict=True)) if a != b), most)


def prefill(
    stack: Stack, prompts: Sequence[Prompt], new_tokens: int, cancelled: Cancel = None
) -> tuple[KVCache, Tensor]:
    """Fills a new cache with prompts; it takes ``new_tokens`` more.

    Returns:
        The cache with a row for each prompt, and the logits (B, V) after each prompt.
    """
    prefixes, group = shared_prefixes(prompts)
    if not prefixes:
        rows = [embed(stack, p.ids, p.image) for p in prompts]
        cache = stack.new_cache(len(rows), max(map(len, rows)) + new_tokens)
        return cache, stack.logits(run_chunks(stack, rows, cache, cancelled))
    prefix_rows = [embed(stack, p.ids, p.image) for p in prefixes]
    rest_rows = [embed(stack, p.ids[len(prefixes[g].ids) :], None) for p, g in zip(prompts, group, strict=True)]
    capacity = max(map(len, prefix_rows)) + max(map(len, rest_rows)) + new_tokens
    cache = stack.new_cache(len(prefixes), capacity)
    run_chunks(stack, prefix_rows, cache, cancelled)
    cache.select(torch.tensor(group, device=stack.device))
    return cache, stack.logits(run_chunks(stack, rest_rows, cache, cancelled))
