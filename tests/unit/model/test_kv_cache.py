"""The KV cache: where tokens stand, what they see, and how rows are handed on."""

from __future__ import annotations

import pytest
import torch

from iaa_runtime.model.kv_cache import KVCache


def make(rows: int = 2, capacity: int = 6) -> KVCache:
    return KVCache(2, rows, capacity, 1, 2, torch.float32, torch.device("cpu"))


def fill(cache: KVCache, count: int, start: float = 0.0) -> None:
    """Appends numbered columns to every block."""
    values = torch.arange(start, start + count).view(1, 1, count, 1).expand(cache.rows, 1, count, 2)
    for slot in range(2):
        cache.append(slot, values + 100 * slot, -values)


def test_plain_tokens_need_no_mask() -> None:
    cache = make()
    positions = cache.extend(3)
    assert positions.mask is None
    assert positions.indices.tolist() == [[0, 1, 2]] * 2
    fill(cache, 3)
    positions = cache.extend(1)
    assert positions.mask is None
    assert positions.indices.tolist() == [[3], [3]]


def test_a_second_piece_sees_the_first_and_is_causal_itself() -> None:
    cache = make(rows=1)
    cache.extend(2)
    mask = cache.extend(2).mask
    assert mask is not None
    assert mask[0, 0].tolist() == [[True, True, True, False], [True, True, True, True]]


def test_left_padding_is_seen_by_nobody_and_counts_no_position() -> None:
    cache = make()
    positions = cache.extend(3, torch.tensor([[True, True, True], [False, False, True]]))
    assert positions.indices.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert positions.mask is not None
    short = positions.mask[1, 0]
    assert short[2].tolist() == [False, False, True]
    assert short.any(-1).all(), "a query that sees nothing has a softmax of 0/0"
    assert cache.tokens.tolist() == [3, 1]
    positions = cache.extend(1)
    assert positions.indices.tolist() == [[3], [1]]
    assert positions.mask is not None
    assert positions.mask[:, 0, 0].tolist() == [[True] * 4, [False, False, True, True]]


def test_padding_behind_a_shared_front() -> None:
    cache = make(rows=1)
    cache.extend(2)
    fill(cache, 2)
    cache.select(torch.tensor([0, 0]))
    positions = cache.extend(2, torch.tensor([[True, True], [False, True]]))
    assert positions.indices.tolist() == [[2, 3], [2, 2]]
    assert positions.mask is not None
    assert positions.mask[1, 0, 1].tolist() == [True, True, False, True]


def test_append_returns_every_column_so_far() -> None:
    cache = make()
    cache.extend(2)
    fill(cache, 2)
    cache.extend(1)
    keys, values = cache.append(1, torch.full((2, 1, 1, 2), 7.0), torch.full((2, 1, 1, 2), 8.0))
    assert keys[0, 0, :, 0].tolist() == [100.0, 101.0, 7.0]
    assert values[0, 0, :, 0].tolist() == [0.0, -1.0, 8.0]


def test_select_repeats_reorders_and_retires_rows() -> None:
    cache = make()
    cache.extend(2, torch.tensor([[True, True], [False, True]]))
    for slot in range(2):
        rows = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
        cache.append(slot, rows, rows)
    cache.select(torch.tensor([1, 0, 1]))
    assert cache.rows == 3
    assert cache.tokens.tolist() == [1, 2, 1]
    assert [keys[:, 0, 0, 0].tolist() for keys in cache.keys] == [[2.0, 1.0, 2.0]] * 2
    assert cache.real[:, :2].tolist() == [[False, True], [True, True], [False, True]]
    cache.select(torch.tensor([1]))
    assert (cache.rows, cache.tokens.tolist()) == (1, [2])


def test_a_full_cache_says_so() -> None:
    cache = make(capacity=3)
    cache.extend(2)
    with pytest.raises(ValueError, match=r"holds 3 columns; 4 were asked for"):
        cache.extend(2)


def test_bytes_per_token_are_what_is_allocated() -> None:
    cache = make(rows=1, capacity=10)
    allocated = sum(tensor.nbytes for tensor in cache.keys + cache.values)
    assert KVCache.bytes_per_token(2, 1, 2, torch.float32) * 10 == allocated


def test_parts_share_the_memory_and_the_count() -> None:
    cache = make(rows=3)
    real = torch.tensor([[True, True], [False, True], [True, True]])
    for number, part in enumerate(cache.parts(2)):
        rows = slice(2 * number, 2 * number + 2)
        assert part.rows == (2, 1)[number]
        part.extend(2, real[rows])
        fill(part, 2, start=10.0 * number)
    assert cache.tokens.tolist() == [2, 1, 2]
    positions = cache.extend(1)
    assert positions.indices.tolist() == [[2], [1], [2]]
    assert positions.mask is not None
    assert positions.mask[:, 0, 0].tolist() == [[True] * 3, [False, True, True], [True] * 3]
    keys, _ = cache.append(0, torch.zeros(3, 1, 1, 2), torch.zeros(3, 1, 1, 2))
    assert keys[:, 0, :, 0].tolist() == [[0, 1, 0], [0, 1, 0], [10, 11, 0]]
