"""How near llama.cpp's answers are to ours, and to the truth, for each type of GGUF file.

    python benchmarks/llama_cpp.py [--type f32 f16 q8_0 q4_0] [--questions 50] [--pictures 100] [--scenes 100]

The demo checkpoint is exported and served by llama-cpp-python: this Python's, or that of the interpreter that
IAA_LLAMA_CPP names. Our side computes in float32. Equal answers are counted, boxes compared with ours, and
``--scenes`` scored as the model card's are. Everything goes through `RemotePipeline`, as with `--server`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from llama_server import serving

from iaa_runtime import IAAPipeline, RemotePipeline
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.config import Task
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.shapes.evaluate import evaluate
from iaa_runtime.shapes.language import expression
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene
from iaa_runtime.shapes.text_questions import text_question

TYPES = ("f32", "f16", "q8_0", "q4_0")
MEASURES = ("single_precision", "single_iou", "several_f1", "absent_auc", "vqa", "caption_recall", "text")


def overlaps(here: IAAPipeline, there: RemotePipeline, pictures: int, seed: int) -> list[float]:
    """IoU of their first box to ours, of phrases for one shape of which ours finds one."""
    rng, found, number = random.Random(seed), list[float](), 0
    while len(found) < pictures:
        scene = make_scene(EVALUATION_SEED + 500_000 + number)
        number += 1
        picture, made = draw_scene(scene), expression(scene, rng, ("plain", "bare", "extreme", "relation"))
        if len(made.targets) != 1 or len(ours := here.ground(picture, [made.phrase])[0]) != 1:
            continue
        theirs = there.ground(picture, [made.phrase])[0]
        found.append(max((iou(ours[0].xyxy, box.xyxy) for box in theirs), default=0.0))
    return found


def measure(kind: str, here: IAAPipeline, options: argparse.Namespace) -> None:
    """Prints a type's figures."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        addresses = []
        for task in Task:
            out = export_gguf(Checkpoint(DEMO_CHECKPOINT), task, Path(folder) / task.value, kind)
            addresses.append(servers.enter_context(serving(out, "mmproj" if task.sees else None)))
        there = RemotePipeline.connect(addresses, concurrency=1)
        rng = random.Random(options.seed)
        questions = [text_question(rng).question for _ in range(options.questions)]
        same = sum(there.text(question) == here.text(question) for question in questions)
        print(f"{kind}: {same} of {len(questions)} questions answered word for word alike", flush=True)
        pictures = [draw_scene(make_scene(EVALUATION_SEED + 500_000 + n)) for n in range(options.pictures)]
        same = sum(there.caption(picture) == here.caption(picture) for picture in pictures)
        print(f"{kind}: {same} of {len(pictures)} captions alike", flush=True)
        found = overlaps(here, there, options.pictures, options.seed)
        near = sum(overlap >= 0.9 for overlap in found)
        mean = sum(found) / len(found)
        print(f"{kind}: {near} of {len(found)} boxes with an IoU of 0.9 or more to ours, mean {mean:.3f}", flush=True)
        report = evaluate(there, options.scenes).report()
        print(f"{kind}: {', '.join(f'{name} {report[name]:.3f}' for name in MEASURES)}", flush=True)


def main() -> None:
    """Prints the figures of each type, and those of our own side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    here = IAAPipeline.from_pretrained(dtype="fp32")
    report = evaluate(here, options.scenes).report()
    print(f"ours: {', '.join(f'{name} {report[name]:.3f}' for name in MEASURES)}", flush=True)
    for kind in options.type:
        measure(kind, here, options)


if __name__ == "__main__":
    main()
