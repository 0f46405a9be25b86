"""The dtype that suits a device."""

from __future__ import annotations

import pytest
import torch

from iaa_runtime.model.dtypes import default_dtype


@pytest.mark.parametrize(
    ("capability", "other", "dtype"), [((7, 5), (8, 6), torch.float16), ((8, 6), (7, 5), torch.bfloat16)]
)
def test_a_card_that_emulates_bfloat16_computes_in_float16(
    capability: tuple[int, int], other: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two cards, the one that is asked for is looked at, whichever is current."""
    second = torch.device("cuda", 1)
    cards = {second: capability, torch.device("cuda", 0): other}
    monkeypatch.setattr(torch.cuda, "get_device_capability", cards.__getitem__)
    assert default_dtype(second) == dtype
