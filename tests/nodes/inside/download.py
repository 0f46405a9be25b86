"""What the Loader's download does while the network is slow: it moves the bar, and it hears Cancel."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bring_up
import comfy.model_management as memory
import comfy.utils
import folder_paths

pack, _ = bring_up.load_pack()
host, errors = pack.nodes.host, pack.iaa_runtime.errors
folder_paths.models_dir = sys.argv[1]
folder_paths.folder_names_and_paths["iaa"] = ([sys.argv[1] + "/elsewhere", sys.argv[1] + "/iaa"], set())
parts: list[float] = []
ended: list[str] = []


def slow_fetch(repository: str, *, folder: Path, progress: Callable[[float], None]) -> Path:
    """Stands for the network, which tests have none of: 40 pieces at 20 a second."""
    try:
        for piece in range(40):
            time.sleep(0.05)
            progress((piece + 1) / 40)
        ended.append("done")
    except errors.Cancelled:
        ended.append("cancelled")
        raise
    return folder


def on_bar(value: int, total: int, *_: object, **__: object) -> None:
    """Notes where the bar is; presses Cancel in the middle when that is wanted."""
    parts.append(value / total)
    if cancel_at is not None and value / total >= cancel_at:
        memory.interrupt_current_processing(True)


host.fetch = slow_fetch
comfy.utils.set_progress_bar_global_hook(on_bar)

cancel_at: float | None = None
folder = host.checkpoint_folder(host.PUBLISHED_REPOSITORY, download=True)
whole, parts[:] = list(parts), []
cancel_at = 0.3
started = time.monotonic()
try:
    host.checkpoint_folder(host.PUBLISHED_REPOSITORY, download=True)
    stopped = False
except memory.InterruptProcessingException:
    stopped = True
report = {
    "folder": str(folder),
    "bar": whole,
    "stopped": stopped,
    "seconds": time.monotonic() - started,
    "ended": ended,
}
print(json.dumps(report))
