"""IAA (Inner-Adaptor Architecture) in plain PyTorch: caption, ground and chat with one frozen Llama.

Importing this package is cheap; torch is imported when one of the names below is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Task
    from .pipeline.local import IAAPipeline
    from .pipeline.model import IAAModel

__version__ = "0.1.0"
__all__ = ["IAAModel", "IAAPipeline", "Task", "__version__"]

_HOMES = {"IAAModel": ".pipeline.model", "IAAPipeline": ".pipeline.local", "Task": ".config"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
