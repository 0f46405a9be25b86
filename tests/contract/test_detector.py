"""The detector behind IAA Detector Provider, called as Impact Pack's FaceDetailer calls one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comfyui_server import run_inside
from make_checkpoint import make_checkpoint

INSIDE = Path(__file__).parent / "inside"


@pytest.fixture(scope="module")
def report(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("models")
    make_checkpoint(folder / "tiny")
    return dict(run_inside(comfyui, INSIDE / "detector.py", str(folder)))


def test_the_users_phrases_go_before_what_is_asked(report: dict[str, Any]) -> None:
    assert set(report["own phrases"]) == {"everything", "the left one"}


def test_without_phrases_it_finds_what_is_asked(report: dict[str, Any]) -> None:
    assert set(report["no phrases"]) == {"face"}


def test_somebody_must_say_what_to_find(report: dict[str, Any]) -> None:
    assert "Type what to find" in report["nobody said"]


def test_hooks_move_regions_and_change_what_is_found(report: dict[str, Any]) -> None:
    assert report["hooked"] == [[[64, 96], [0, 0, 96, 64]]]


def test_the_combined_mask_is_flat(report: dict[str, Any]) -> None:
    assert report["combined"] == [[64, 96], "torch.float32"]
    assert report["one a phrase"] == ["everything"]
