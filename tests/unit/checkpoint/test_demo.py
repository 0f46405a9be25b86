"""The demo model is known again: what knows only coloured shapes is asked for nothing else, wherever it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

from make_checkpoint import Geometry, make_checkpoint

from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.checkpoint.demo import is_demo
from iaa_runtime.export.convert import convert


def test_copies_and_converted_ones_are_known_again(tmp_path: Path) -> None:
    demo = Checkpoint(DEMO_CHECKPOINT)
    assert is_demo(demo)
    assert is_demo(Checkpoint(shutil.copytree(DEMO_CHECKPOINT, tmp_path / "copy")))
    assert is_demo(Checkpoint(convert(demo, "int4", tmp_path / "converted")))


def test_others_are_not_taken_for_it(tmp_path: Path) -> None:
    config = Checkpoint(DEMO_CHECKPOINT).config
    other = make_checkpoint(tmp_path / "same width", Geometry(hidden_size=config.hidden_size))
    for folder in (other, make_checkpoint(tmp_path / "other width", Geometry())):
        assert not is_demo(Checkpoint(folder))
