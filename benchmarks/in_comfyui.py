"""The Loader's pipeline in ComfyUI, without nodes and queue, beside one of Python alone, on a CPU, in one process.

    cd ComfyUI && .venv/bin/python PACK/benchmarks/in_comfyui.py CHECKPOINT [--precision int8 …] [--repeats 3]

Run it in ComfyUI's folder, by ComfyUI's Python. Layers, patchers and interrupts are those of the Loader; the answers of
both sides must be the same. The picture goes through the tower each time. Ratios are medians of pairs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path.cwd()), str(PACK / "tests" / "nodes" / "inside")]


def answers(pipeline: Any, picture: Any) -> dict[str, Callable[[], Any]]:
    """What is compared."""
    return {
        "caption, 32 tokens": lambda: pipeline.caption(picture, max_new_tokens=32),
        "one phrase": lambda: pipeline.ground(picture, ["the red square"], max_new_tokens=32),
        "text, 32 tokens": lambda: pipeline.text("What is the opposite of left?", max_new_tokens=32),
    }


def main() -> int:
    """Prints a line for each precision and answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--precision", action="append", choices=["full", "fp8", "int8", "int4"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import bring_up  # before ComfyUI

    pack, _ = bring_up.load_pack()
    import folder_paths
    import torch
    from PIL import Image

    host = pack.nodes.host
    folder_paths.add_model_folder_path(host.FOLDER, str(options.checkpoint.resolve().parent))
    pixels = torch.randint(0, 256, (448, 448, 3), generator=torch.Generator().manual_seed(options.seed))
    picture = Image.fromarray(pixels.to(torch.uint8).numpy())
    for name in options.precision or ["full", "int8"]:
        weights = host.AS_STORED if name == "full" else name
        hosted = host.open_model(options.checkpoint.name, "auto", weights, "default", False, False)
        alone = host.IAAPipeline.from_pretrained(options.checkpoint, precision=host.WEIGHTS[weights])
        pipelines = (hosted.pipeline, alone)
        sides = [answers(pipeline, picture) for pipeline in pipelines]
        for what in sides[0]:
            seconds: list[list[float]] = [[], []]
            said: list[Any] = [None, None]
            for round_ in range(options.repeats + 1):
                for side, (pipeline, runs) in enumerate(zip(pipelines, sides, strict=True)):
                    pipeline.vision_cache.clear()
                    begin = time.perf_counter()
                    with hosted.in_use():
                        said[side] = runs[what]()
                    if round_:
                        seconds[side].append(time.perf_counter() - begin)
            ratio = statistics.median(a / b for a, b in zip(*seconds, strict=True))
            same = "same answer" if repr(said[0]) == repr(said[1]) else "ANOTHER ANSWER"
            print(f"{name}, {what}: in ComfyUI {ratio:.2f} of its time alone, {same}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
