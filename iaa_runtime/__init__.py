"""IAA (Inner-Adaptor Architecture) in plain PyTorch: caption, ground and chat with one frozen Llama.

Importing this package is cheap; torch is imported when one of the names below is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .boxes.answers import Detection, parse_boxes
    from .boxes.geometry import unpad_box
    from .config import GenerationConfig, Task
    from .images.preprocess import preprocess
    from .pipeline.choices import Choice
    from .pipeline.local import IAAPipeline
    from .pipeline.model import IAAModel
    from .pipeline.remote import RemotePipeline
    from .text.conversation import Conversation

__version__ = "0.1.0"

_HOMES = {
    "Choice": ".pipeline.choices",
    "Conversation": ".text.conversation",
    "Detection": ".boxes.answers",
    "GenerationConfig": ".config",
    "IAAModel": ".pipeline.model",
    "IAAPipeline": ".pipeline.local",
    "RemotePipeline": ".pipeline.remote",
    "Task": ".config",
    "parse_boxes": ".boxes.answers",
    "preprocess": ".images.preprocess",
    "unpad_box": ".boxes.geometry",
}
__all__ = [
    "Choice",
    "Conversation",
    "Detection",
    "GenerationConfig",
    "IAAModel",
    "IAAPipeline",
    "RemotePipeline",
    "Task",
    "__version__",
    "parse_boxes",
    "preprocess",
    "unpad_box",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
