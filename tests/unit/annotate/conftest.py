"""A tiny checkpoint and pictures for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_checkpoint import Geometry, make_checkpoint
from PIL import Image

from iaa_runtime import IAAPipeline


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint of random weights."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny"), Geometry(context=640))


@pytest.fixture(scope="session")
def pipeline(tiny: Path) -> IAAPipeline:
    """The tiny checkpoint, opened."""
    return IAAPipeline.from_pretrained(tiny)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures at two depths, among other files: ``a.png b.jpg sub/c.webp``, hidden ones and a text."""
    folder = tmp_path / "photos"
    for name, color in (
        ("b.jpg", "red"),
        ("a.png", "green"),
        ("sub/c.webp", "blue"),
        (".hidden.png", "black"),
        (".cache/d.png", "black"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), color).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder
