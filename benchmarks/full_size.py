"""What the full geometry takes: a converted folder opened, and one phrase grounded; each step's seconds, and the peak.

    python benchmarks/full_size.py FOLDER [--precision int8 …] [--task G|MM] [--size full] [--seed 0] [--json FILE]

FOLDER/SIZE holds a checkpoint of random weights (full: 33 GB in bfloat16), written once and used again; what is
converted of it lies beside it; ``--precision full`` opens the checkpoint itself. The answer comes from a process of its
own, with files in the page cache and the demo's tokenizer. Linux only: the peak is VmHWM of /proc/self/status, in which
pages of mapped files count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

PRECISIONS = ("full", "fp8", "int8", "int4")
PHRASE = "the red square"
NEW_TOKENS = 32
"""More than a box takes."""
STEPS = ("convert", "read", "load", "vision", "prefill", "decode", "answer")
"""What takes time: ``read`` is of the folder's bytes, ``answer`` the last three together."""


def convert(source: Path, precision: str, task: str) -> tuple[Path, float]:
    """The folder converted for a task, and the seconds that took; 0 where it was there."""
    out = source.with_name(f"{source.name}-{task}-{precision}")
    if precision == "full" or out.exists():
        return (source if precision == "full" else out), 0.0
    log(f"converting to {out} …")
    command = [sys.executable, "-m", "iaa_runtime", "convert", "--model", str(source), "--precision", precision]
    begin = time.perf_counter()
    subprocess.run([*command, "--task", task, "--out", str(out)], check=True, stdout=sys.stderr)
    return out, time.perf_counter() - begin


def read(folder: Path) -> float:
    """Seconds that it takes to read the folder's weights, which then are in the page cache as far as memory allows."""
    buffer, begin = bytearray(16 << 20), time.perf_counter()
    for file in sorted(folder.rglob("*.safetensors")):
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
    return time.perf_counter() - begin


def measure(folder: Path, task: str, seed: int) -> dict[str, Any]:
    """Opens a folder in this process and answers about one picture: seconds of each step, and peak bytes."""
    from iaa_runtime import IAAPipeline
    from iaa_runtime.bench.peak import resident
    from iaa_runtime.bench.run import random_picture
    from iaa_runtime.config import Task
    from iaa_runtime.text.conversation import Conversation
    from iaa_runtime.text.prompts import CAPTION_PROMPTS, grounding_question

    times = [time.perf_counter()]
    pipeline = IAAPipeline.from_pretrained(folder)
    model = pipeline.model
    model.load(*Task.parse(task).banks)
    times.append(time.perf_counter())
    see = model.vision_features

    def timed(pixels: Any) -> Any:
        features = see(pixels)
        times.append(time.perf_counter())
        return features

    model.vision_features = timed  # type: ignore[method-assign]
    picture, tokens = random_picture(model.vision.image_size, seed), list[float]()
    options: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "on_token": lambda *_: tokens.append(time.perf_counter())}
    if task == "G":
        answer = pipeline.ground_answers(picture, PHRASE, several=False, **options)[0][0].text
    else:
        answer = pipeline.caption(picture, **options)[0]
    times += [tokens[0], time.perf_counter()]
    asked = Conversation().user(grounding_question(PHRASE) if task == "G" else CAPTION_PROMPTS["caption"])
    steps = dict(zip(STEPS[2:], (b - a for a, b in pairwise(times)), strict=False))
    return {f"{step}_seconds": seconds for step, seconds in steps.items()} | {
        "answer_seconds": times[-1] - times[1],
        "prompt_tokens": pipeline.prompt_length(asked, task, True),
        "new_tokens": len(tokens),
        "answer": answer,
        "dtype": pipeline.identity()["dtype"],
        "precision": pipeline.identity()["precision"],
        "peak_bytes": resident("VmHWM"),
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    seconds = [f"{row[f'{step}_seconds']:.1f}" for step in STEPS]
    tokens = f"{row['prompt_tokens']} + {row['new_tokens']}"
    return f"| {row['precision']} | {' | '.join(seconds)} | {tokens} | {row['peak_bytes'] / 1e9:.2f} |"


def log(message: str) -> None:
    """Prints progress to stderr."""
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """Builds, converts, measures and prints a table."""
    parser = argparse.ArgumentParser(description="Time and memory of the full geometry.")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where checkpoints are kept (full: 33 to 60 GB)")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="repeatable (default int8 and int4)")
    parser.add_argument("--task", choices=("MM", "G"), default="G")
    parser.add_argument("--size", choices=("tiny", "small", "wide", "full"), default="full", help="of the geometry")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the picture")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.folder, options.task, options.seed)))
        return
    from iaa_runtime.bench.checkpoints import kept_checkpoint

    source, rows = kept_checkpoint(options.folder, options.size, options.seed, log), []
    for precision in options.precision or ("int8", "int4"):
        folder, seconds = convert(source, precision, options.task)
        row = {"asked": precision, "convert_seconds": seconds, "read_seconds": read(folder)}
        log(f"opening {folder} …")
        command = [sys.executable, __file__, str(folder), "--measure", "--task", options.task]
        done = subprocess.run([*command, "--seed", str(options.seed)], check=True, stdout=subprocess.PIPE, text=True)
        rows.append(row | json.loads(done.stdout))
    from iaa_runtime.bench.report import describe_machine

    about = describe_machine("cpu")
    print(", ".join(f"{key} {value}" for key, value in about.items()) + f", size {options.size}, {options.task}\n")
    print(f"| precision | {' | '.join(STEPS)} | tokens | peak GB |\n|---|{'---:|' * (len(STEPS) + 2)}")
    print("\n".join(map(line, rows)))
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
