"""A server for every test, and a pipeline that asks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from model_server import ModelServer, serving

from iaa_runtime.pipeline.remote import RemotePipeline, Retries, Timeouts


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """Serves all three tasks."""
    with serving("iaa-mm", "iaa-g", "iaa-text") as started:
        yield started


@pytest.fixture
def remote(server: ModelServer) -> RemotePipeline:
    """Asks the server four times at most, with little patience."""
    retries = Retries(tries=4, first=0.01)
    return RemotePipeline.connect([server.url], 3, Timeouts(connect=2, silence=0.5), retries)
