"""What the Loader's download does with a hub that takes its time: it moves the bar, and it hears Cancel."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # for hub_server

from hub_server import HubServer, serving_hub

SHARDS = [f"model-{number}.safetensors" for number in range(4)]
FILES = {"config.json": b"{}", **dict.fromkeys(SHARDS, bytes(8 << 20)), "tokenizer.json": b"{}"}
SIZE = sum(map(len, FILES.values()))


def main(models: str, hub: HubServer) -> dict[str, Any]:
    """Downloads to the end, until Cancel in the middle, and until Cancel while the hub says nothing more."""
    os.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}  # before anything imports the hub's library

    import bring_up
    import comfy.model_management as memory
    import comfy.utils
    import folder_paths

    pack, _ = bring_up.load_pack()
    host, errors = pack.nodes.host, pack.iaa_runtime.errors
    from huggingface_hub import constants

    constants.DOWNLOAD_CHUNK_SIZE = 1 << 20
    pack.iaa_runtime.checkpoint.download.PUBLISHED_BYTES = SIZE
    folder_paths.models_dir = models
    folder_paths.folder_names_and_paths["iaa"] = ([f"{models}/elsewhere", f"{models}/iaa"], set())
    target = Path(models, "iaa", host.PUBLISHED_REPOSITORY)
    parts: list[float] = []
    ended: list[str] = []
    fetch = host.fetch

    def watched_fetch(*arguments: Any, **options: Any) -> Path:
        try:
            folder: Path = fetch(*arguments, **options)
            ended.append("done")
            return folder
        except errors.Cancelled:
            ended.append("cancelled")
            raise

    def on_bar(value: int, total: int, *_: object, **__: object) -> None:
        """Notes where the bar is; presses Cancel in the middle when that is wanted."""
        parts.append(value / total)
        if cancel_at is not None and value / total >= cancel_at:
            pressed.append(time.monotonic())
            memory.interrupt_current_processing(True)

    def download() -> tuple[str, float]:
        """What comes of it, and the seconds from Cancel to that."""
        pressed.clear()
        try:
            return str(host.checkpoint_folder(host.PUBLISHED_REPOSITORY, download=True)), 0.0
        except memory.InterruptProcessingException:
            return "stopped", time.monotonic() - pressed[0]

    def wait_until_ended(times: int) -> None:
        deadline = time.monotonic() + 10
        while len(ended) < times and time.monotonic() < deadline:
            time.sleep(0.02)

    host.fetch = watched_fetch
    comfy.utils.set_progress_bar_global_hook(on_bar)
    pressed: list[float] = []
    cancel_at: float | None = None
    report: dict[str, Any] = {"whole": download(), "bar": list(parts), "sent": hub.sent}
    shutil.rmtree(target)
    cancel_at = 0.3
    report |= {"cancelled": download()}
    wait_until_ended(2)
    report |= {"sent_until_cancel": hub.sent - report["sent"]}
    parts.clear()
    hub.stalls[SHARDS[-1]] = 1 << 20
    cancel_at = 0.75
    report |= {"stalled": download(), "waits_still": len(ended) == 2, "begins_at": parts[0]}
    hub.released.set()
    wait_until_ended(3)
    return report | {"ended": ended, "asked": hub.asked}


with serving_hub(FILES) as slow_hub:
    slow_hub.pause = 0.05
    print(json.dumps(main(sys.argv[1], slow_hub)))
