"""Devices by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from iaa_runtime.errors import ConfigError, InputError
from iaa_runtime.model.devices import pick_device
from iaa_runtime.model.linear.kinds import kinds_for


def with_devices(monkeypatch: pytest.MonkeyPatch, *there: str) -> None:
    """Lets torch have these accelerators."""
    for kind in ("cuda", "xpu", "hpu"):
        monkeypatch.setattr(torch, kind, SimpleNamespace(is_available=lambda kind=kind: kind in there), raising=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [((), "cpu"), (("mps",), "mps"), (("xpu",), "xpu"), (("xpu", "cuda"), "cuda"), (("hpu",), "hpu")],
)
def test_auto_takes_what_torch_has(monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], wanted: str) -> None:
    with_devices(monkeypatch, *there)
    assert pick_device("auto").type == wanted


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:99", "xpu", "hpu", "privateuseone", "", "cpu:0:0"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"The device '{name}' cannot be used .* Take another, such as cpu"):
        pick_device(name)


def test_old_builds_know_fewer_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "xpu", raising=False)
    monkeypatch.delattr(torch, "hpu", raising=False)
    assert pick_device("auto").type in ("cpu", "cuda", "mps")


def test_apples_gpus_have_no_8_bit_floats() -> None:
    with pytest.raises(ConfigError, match=r"no 8-bit floats on Apple's GPUs\. Use int8"):
        kinds_for("fp8", torch.float16, torch.device("mps"))
