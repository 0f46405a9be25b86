"""What all tests share: no network, few threads, and where the reference data lies."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

PROJECT = Path(__file__).parents[1]

# A busy machine makes slow examples, not wrong ones; and a red run must be red again.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

# An installed iaa_runtime is what users run, so it goes first; a plain checkout must be testable all the same. At the
# end of the path, the project's nodes/ cannot hide ComfyUI's nodes.py.
if importlib.util.find_spec("iaa_runtime") is None:
    sys.path.append(str(PROJECT))
sys.path.append(str(PROJECT / "tests"))  # for make_checkpoint, stock_models and their like


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked ``gpu`` where torch finds no accelerator."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="torch finds no accelerator on this machine"))


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root folder."""
    return PROJECT


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of what the published code computes; its README.md says what each file is."""
    return PROJECT / "tests" / "reference"


@pytest.fixture(autouse=True, scope="session")
def exact_on_every_processor() -> Iterator[None]:
    """Models that a test opens without naming a dtype compute in float32, whatever this processor is fastest in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("iaa_runtime.model.dtypes.fast_in_bf16", lambda: False)
        yield


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets a test connect to this machine only, so that none passes or fails by what the network does."""
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"A test tried to connect to {host}; tests run without a network.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)
    yield


@pytest.fixture
def blind_to_case(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that sees no case: the temporary one itself, or an image of NTFS that root mounts."""
    from disk_without_case import without_case

    with without_case(tmp_path) as folder:
        yield folder
