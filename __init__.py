"""IAA for ComfyUI: caption, ground and chat with a frozen Llama 3 that sees through inserted adaptor layers.

Importing this package is free of ComfyUI and of torch; the nodes are imported when ComfyUI asks for them.
"""

from __future__ import annotations

import logging
from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """Hands ComfyUI the pack's nodes."""
    try:
        from .nodes import IAAExtension
    except Exception:
        # ComfyUI logs only the message of what fails here.
        logging.getLogger(__name__).exception("IAA: the nodes could not be imported")
        raise
    return IAAExtension()
