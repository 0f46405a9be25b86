from typing import Any, ClassVar

class PromptServer:
    instance: ClassVar[PromptServer]
    routes: Any
    def send_progress_text(self, text: bytes | str, node_id: str, sid: str | None = None) -> None: ...
