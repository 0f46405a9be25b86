"""A node for tests alone: its run goes on until a file is gone, and those behind it wait."""

from __future__ import annotations

import time
from pathlib import Path


class HeldRun:
    """Waits until ``file`` is gone."""

    RETURN_TYPES = ()
    FUNCTION = "wait"
    OUTPUT_NODE = True
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple[str]]]:  # noqa: N802
        """The file."""
        return {"required": {"file": ("STRING",)}}

    def wait(self, file: str) -> tuple[()]:
        """Looks at the file again and again."""
        while Path(file).exists():
            time.sleep(0.02)
        return ()


NODE_CLASS_MAPPINGS = {"HeldRun": HeldRun}
