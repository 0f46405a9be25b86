"""What we use of ComfyUI's node API, for mypy; tests/nodes/test_stubs.py holds it against a real one."""

from . import io as io
from . import ui as ui

class ComfyExtension:
    async def on_load(self) -> None: ...
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...
