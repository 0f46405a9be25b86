"""What a processor is found to multiply faster, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint

from iaa_runtime import IAAModel
from iaa_runtime.model import dtypes
from iaa_runtime.model.linear import kinds, processor
from iaa_runtime.model.linear.kinds import PLAIN, kinds_for
from iaa_runtime.model.linear.onednn import OneDNNLinear, can_multiply

CPU = torch.device("cpu")
needs_bf16 = pytest.mark.skipif(not can_multiply(torch.bfloat16, CPU), reason="this processor is without bfloat16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("processor") / "checkpoint", Geometry())


@needs_bf16
@pytest.mark.parametrize("share", [0.5, 1.9])
@pytest.mark.parametrize("native", [True, False, None])
def test_bf16_is_chosen_where_the_processor_has_it_and_gains(
    folder: Path, monkeypatch: pytest.MonkeyPatch, native: bool | None, share: float
) -> None:
    monkeypatch.setattr(dtypes, "fast_in_bf16", processor.fast_in_bf16)
    monkeypatch.setattr(processor, "bf16_share", lambda: share)
    if native is None:  # an old build of torch
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    else:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    expected = torch.bfloat16 if native and share < 1 else torch.float32
    assert IAAModel.from_pretrained(folder).dtype == expected
    assert IAAModel.from_pretrained(folder, torch.float32).dtype == torch.float32


@needs_bf16
def test_it_is_measured_once_and_threads_come_back() -> None:
    threads = torch.get_num_threads()
    first = processor.bf16_share()
    assert 0.01 < first < 100
    assert processor.bf16_share() == first and torch.get_num_threads() == threads


@needs_bf16
def test_float32_stays_with_the_library_of_the_processors_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    for intel in (True, False):
        monkeypatch.setattr(kinds, "is_intel", lambda intel=intel: intel)
        assert (kinds_for(None, torch.float32, CPU) == PLAIN) == intel
        assert kinds_for(None, torch.bfloat16, CPU).matrix is OneDNNLinear
