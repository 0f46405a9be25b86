"""IAA Remote Loader: tasks that a server answers, for the same nodes as a checkpoint here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..iaa_runtime.config import Task
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.pipeline.remote import RemotePipeline, Timeouts
from ..iaa_runtime.pipeline.remote.pipeline import CONCURRENCY
from ..iaa_runtime.pipeline.remote.servers import parse_server
from .host import check_interrupt
from .inputs import Node
from .options import CATEGORY, IAAModelType
from .values import lines

TIMEOUT = int(Timeouts().silence)


@dataclass(frozen=True)
class RemoteHandle:
    """What an ``IAA_MODEL`` socket carries when servers answer; the other nodes know it by ``in_use`` alone.

    No weights are here, so there is nothing for ComfyUI to move or evict.

    Attributes:
        servers: their addresses.
        concurrency: requests at once.
        timeout: seconds without a word after which a request is sent again.
    """

    servers: tuple[str, ...]
    concurrency: int
    timeout: int

    @contextmanager
    def in_use(self) -> Iterator[RemotePipeline]:
        """The pipeline. The servers are asked each time, since they may have been started anew with other tasks."""
        timeouts = Timeouts(silence=self.timeout)
        yield RemotePipeline.connect(self.servers, self.concurrency, timeouts, cancelled=check_interrupt)


class RemoteLoader(Node):
    """Lets servers answer, such as vLLM with exported tasks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_RemoteLoader",
            category=CATEGORY,
            search_aliases=["vLLM", "OpenAI API", "server", "remote model", "API", "IAA server"],
            inputs=[
                io.String.Input(
                    "servers",
                    multiline=True,
                    default="http://127.0.0.1:8000",
                    placeholder="One address a line:\nhttp://127.0.0.1:8000\nG=http://gpu-box:8001",
                ),
                io.Int.Input("concurrency", default=CONCURRENCY, min=1, max=256, optional=True, advanced=True),
                io.Int.Input("timeout", default=TIMEOUT, min=1, max=3600, optional=True, advanced=True),
            ],
            outputs=[IAAModelType.Output("IAA_MODEL")],
        )

    @classmethod
    def validate_inputs(cls, servers: Any = None) -> bool | str:
        """Addresses must be ones."""
        try:
            addresses(servers) if isinstance(servers, str) else None
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, servers: str, concurrency: int = CONCURRENCY, timeout: int = TIMEOUT) -> io.NodeOutput:
        """Notes the addresses; the servers are asked when a node needs an answer."""
        return io.NodeOutput(RemoteHandle(tuple(addresses(servers)), concurrency, timeout))


def addresses(servers: str) -> list[str]:
    """The lines that say something; raises :class:`InputError` for one that is no address, and where there is none."""
    found = lines(servers)
    if not found:
        raise InputError("'servers' is empty. Write the address of a server, such as http://127.0.0.1:8000.")
    if len(found) > len(Task):
        raise InputError(f"'servers' has {len(found):,} lines. Write at most one address a task, so {len(Task)}.")
    try:
        for address in found:
            parse_server(address)
    except InputError as error:
        raise InputError(f"'servers' cannot be read. {error}") from None
    return found
