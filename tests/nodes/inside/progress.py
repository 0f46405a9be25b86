"""Where a node's bar is, answer by answer, when answers are as long as they mostly are."""

from __future__ import annotations

import json
import sys

import bring_up
import comfy.utils

pack, _ = bring_up.load_pack()
parts: list[float] = []
comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: parts.append(value / total))
comfy.utils.PROGRESS_THROTTLE_MIN_INTERVAL = comfy.utils.PROGRESS_THROTTLE_MIN_PERCENT = 0


def written(
    rows: int, length: int, likely: float, most: int = 512, at_once: int = 8, foreseen: int | None = None
) -> list[float]:
    """The parts at which the bar stands while answers of ``length`` tokens are written, before it is filled."""
    progress = pack.nodes.progress.Progress(foreseen or rows, most, likely=likely)
    parts.clear()
    for first in range(0, rows, at_once):
        for _ in range(length):
            for row in range(first, min(rows, first + at_once)):
                progress.on_token(row, 0)
    return list(parts)


def shown(rows: int, length: int, foreseen: int) -> str:
    """The live text once that many answers of that many characters are written: digits of their numbers."""
    progress = pack.nodes.progress.Progress(foreseen, 1, node_id="1")
    sent: list[str] = []
    progress._send = lambda text, _: sent.append(text)
    for row in range(rows):
        progress.on_text(row, str(row % 10) * length)
    progress.done()
    return sent[-1]


bars = [written(**case) for case in json.loads(sys.argv[1])]
print(json.dumps({"bars": bars, "live": [shown(300, 999, foreseen) for foreseen in (300, 1)]}))
