"""What the tests of the command line run on."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_checkpoint import Geometry, make_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cli") / "checkpoint"
    return str(make_checkpoint(folder, Geometry(context=600)))


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs remember things for their users: not where the developer's own do."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder / "iaa"


@pytest.fixture(scope="module")
def photo(reference: Path) -> str:
    return str(reference / "readpanda.jpg")
