"""What a step of teaching takes at a size, of random weights: seconds, and the peak of memory against the count.

    python benchmarks/teaching_step.py FOLDER [--size full] [--precision int4] [--rank 16] [--steps 1] [--json FILE]

FOLDER/SIZE holds a checkpoint of random weights (full: 33 GB), written once and used again, and what is converted of it
for G lies beside it. A picture a step, with five questions about it; activations are computed again in the backward
pass, as ``iaa teach`` does from a hidden size of 1,024 on. The step runs in a process of its own. Linux only, as
``full_size.py``; the count is that of docs/teaching.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from full_size import PRECISIONS, convert, log

QUESTIONS = ("the red square", "the circle", "all stars", "the cross on the left", "the large ring")
BOX = (40.0, 30.0, 120.0, 140.0)


def measure(folder: Path, rank: int, steps: int, seed: int) -> dict[str, Any]:
    """Opens a folder in this process and learns: seconds of the last step, and bytes."""
    import torch

    from iaa_runtime.bench.peak import resident
    from iaa_runtime.bench.run import random_picture
    from iaa_runtime.config import Task
    from iaa_runtime.model.dtypes import dtype_name
    from iaa_runtime.model.linear.processor import fast_in_bf16
    from iaa_runtime.teaching.examples import Example, by_picture
    from iaa_runtime.teaching.frozen import open_frozen
    from iaa_runtime.teaching.lessons import write_lessons
    from iaa_runtime.teaching.objective import Objective
    from iaa_runtime.teaching.updates import LowRankUpdates

    pipeline = open_frozen(folder, None, "cpu", None)
    model = pipeline.model
    picture = random_picture(model.vision.image_size, seed)
    shown = by_picture([Example(picture, phrase, (BOX,)) for phrase in QUESTIONS])
    lessons = write_lessons(pipeline, Task.G, shown, 1, seed)
    for bank in Task.G.banks:
        model.bank(bank).requires_grad_(False)
    updates = LowRankUpdates(model.config, Task.G, rank, float(rank), seed, model.device)
    optimizer = torch.optim.AdamW(updates.parameters(), lr=1e-3)
    objective = Objective(lessons, model.project, 1, len(QUESTIONS), 0, steps, checkpointed=True)
    rows = lessons.taught[0]
    before, losses, seconds = resident("VmRSS"), [], 0.0
    for _ in range(steps):
        began = time.perf_counter()
        loss, _ = objective.loss_of(updates.stack(model), rows, annealed=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds = time.perf_counter() - began
        losses.append(round(loss.item(), 3))
    tokens = [len(row.prompt) + len(row.answer) for row in rows]
    learned = sum(p.numel() for p in updates.parameters())
    config = model.config
    groups, head, width = config.num_key_value_heads, config.head_dim, model.dtype.itemsize
    kept = 2 if fast_in_bf16() else width  # keys and values, as teaching.batches.computing has them
    columns = len(lessons.head) + lessons.features.shape[1] + max(tokens)
    counted = {
        "weights": sum(
            tensor.nbytes
            for bank in Task.G.banks
            for tensor in (*model.bank(bank).parameters(), *model.bank(bank).buffers())
        ),
        "updates": 16 * learned,
        "inputs of blocks": (columns + sum(tokens)) * config.hidden_size * width * config.num_blocks,
        "keys and values": (len(rows) + 1) * columns * 2 * kept * groups * head * config.num_blocks,
        "logits": sum(len(row.answer) for row in rows) * config.vocab_size * 13,
    }
    return {
        "precision": pipeline.identity()["precision"],
        "dtype": dtype_name(model.dtype),
        "rank": rank,
        "tokens": columns + sum(tokens) - max(tokens),
        "step_seconds": round(seconds, 2),
        "losses": losses,
        "resident_before_bytes": before,
        "peak_bytes": resident("VmHWM"),
        "counted_bytes": {name: int(value) for name, value in counted.items()},
    }


def main() -> None:
    """Builds, converts, learns and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--size", choices=("tiny", "small", "wide", "full"), default="full")
    parser.add_argument("--precision", choices=[name for name in PRECISIONS if name != "fp8"], default="int4")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.folder, options.rank, options.steps, options.seed)))
        return
    from iaa_runtime.bench.checkpoints import kept_checkpoint
    from iaa_runtime.bench.report import describe_machine

    folder, _ = convert(kept_checkpoint(options.folder, options.size, options.seed, log), options.precision, "G")
    command = [sys.executable, __file__, str(folder), "--measure", "--rank", str(options.rank)]
    command += ["--steps", str(options.steps), "--seed", str(options.seed)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result = {"machine": describe_machine("cpu"), "size": options.size, "step": json.loads(done.stdout)}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
