"""How near llama.cpp's answers are to ours, and to the truth, for each type of GGUF file.

    python benchmarks/llama_cpp.py [--type f32 f16 q8_0 q4_0] [--questions 50] [--pictures 100] [--scenes 100]
                                   [--server llama-cpp-python] [--out benchmarks/results/llama_cpp.md]

The demo model is exported and served by llama.cpp (see `tests/llama_server.py`). Our side computes in float32.
Answers that are equal word for word are counted, boxes compared with ours, and ``--scenes`` scored as the model card's
are. Everything goes through `RemotePipeline`, as with `--server`. *Square* pictures are the same scenes with more
ground to the right or below: they have no border, of whose first patch the tower's file makes use.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from llama_server import serving

from iaa_runtime import IAAPipeline, RemotePipeline
from iaa_runtime.boxes.geometry import Box, iou
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT, Checkpoint
from iaa_runtime.config import Task
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.shapes.evaluate import evaluate
from iaa_runtime.shapes.language import expression
from iaa_runtime.shapes.scenes import EVALUATION_SEED, Scene, draw_scene, make_scene
from iaa_runtime.shapes.text_questions import text_question

TYPES = ("f32", "f16", "q8_0", "q4_0")
MEASURES = ("single_precision", "single_iou", "several_f1", "absent_auc", "vqa", "caption_recall", "text")
FIRST_SEED = EVALUATION_SEED + 500_000

Row = dict[str, str]
"""Figures by what they are."""


@dataclass(frozen=True)
class Ours:
    """What is asked, with our answers."""

    questions: list[tuple[str, str]]
    captions: list[tuple[Image.Image, str]]
    square_captions: list[tuple[Image.Image, str]]
    boxes: list[tuple[Image.Image, str, Box]]
    square_boxes: list[tuple[Image.Image, str, Box]]

    @classmethod
    def ask(cls, here: IAAPipeline, questions: int, pictures: int, seed: int) -> Ours:
        """Asks our side."""
        rng = random.Random(seed)
        asked = [text_question(rng).question for _ in range(questions)]
        scenes = [make_scene(FIRST_SEED + number) for number in range(pictures)]
        drawn, squares = map(draw_scene, scenes), map(draw_scene, map(squared, scenes))
        return cls(
            [(question, here.text(question)) for question in asked],
            [(picture, here.caption(picture)) for picture in drawn],
            [(picture, here.caption(picture)) for picture in squares],
            *(some_boxes(here, pictures, seed, square) for square in (False, True)),
        )


def squared(scene: Scene) -> Scene:
    """The scene with more of its ground."""
    return replace(scene, width=scene.long_side, height=scene.long_side)


def some_boxes(here: IAAPipeline, count: int, seed: int, square: bool) -> list[tuple[Image.Image, str, Box]]:
    """Pictures and phrases for one shape of which ours finds one."""
    rng, found, number = random.Random(seed), list[tuple[Image.Image, str, Box]](), FIRST_SEED
    while len(found) < count:
        scene, number = make_scene(number), number + 1
        made = expression(scene, rng, ("plain", "bare", "extreme", "relation"))
        picture = draw_scene(squared(scene) if square else scene)
        if len(made.targets) == 1 and len(boxes := here.ground(picture, [made.phrase])[0]) == 1:
            found.append((picture, made.phrase, boxes[0].xyxy))
    return found


def alike(there: RemotePipeline, captions: list[tuple[Image.Image, str]]) -> str:
    """How many captions are ours."""
    return f"{sum(there.caption(picture) == caption for picture, caption in captions)} of {len(captions)}"


def near(there: RemotePipeline, boxes: list[tuple[Image.Image, str, Box]]) -> tuple[str, str]:
    """How many boxes have an IoU of 0.9 or more to ours, and the mean IoU."""
    overlaps = [
        max((iou(box, found.xyxy) for found in there.ground(picture, [phrase])[0]), default=0.0)
        for picture, phrase, box in boxes
    ]
    return f"{sum(one >= 0.9 for one in overlaps)} of {len(overlaps)}", f"{sum(overlaps) / len(overlaps):.3f}"


def scored(pipeline: IAAPipeline | RemotePipeline, scenes: int) -> Row:
    """The model card's figures."""
    report = evaluate(pipeline, scenes).report()
    return {name: f"{report[name]:.3f}" for name in MEASURES}


def compared(kind: str, ours: Ours, scenes: int, server: str) -> Row:
    """A type's figures."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        addresses = []
        for task in Task:
            out = export_gguf(Checkpoint(DEMO_CHECKPOINT), task, Path(folder) / task.value, kind)
            addresses.append(servers.enter_context(serving(out, "mmproj" if task.sees else None, server)))
        there = RemotePipeline.connect(addresses, concurrency=1)
        same = sum(there.text(question) == answer for question, answer in ours.questions)
        row = {"answers in text": f"{same} of {len(ours.questions)}"}
        row |= {"captions": alike(there, ours.captions), "of squares": alike(there, ours.square_captions)}
        row["boxes"], row["mean IoU"] = near(there, ours.boxes)
        row["in squares"], row["mean IoU there"] = near(there, ours.square_boxes)
        return row | scored(there, scenes)


def table(rows: dict[str, Row]) -> str:
    """A Markdown table: figures down, types across."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["| | " + " | ".join(rows) + " |", "|---|" + "---:|" * len(rows)]
    lines += [f"| {name} | " + " | ".join(row.get(name, "") for row in rows.values()) + " |" for name in names]
    return "\n".join(lines)


def main() -> None:
    """Prints the figures of each type, and those of our own side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--server", choices=("llama-cpp-python", "llama-server"), default="llama-cpp-python")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table there too")
    options = parser.parse_args()
    here = IAAPipeline.from_pretrained(dtype="fp32")
    ours = Ours.ask(here, options.questions, options.pictures, options.seed)
    rows: dict[str, Row] = {}
    for kind in options.type:
        print(f"{kind} …", file=sys.stderr, flush=True)
        rows[kind] = compared(kind, ours, options.scenes, options.server)
        print(rows[kind], file=sys.stderr, flush=True)
    rows["ours"] = scored(here, options.scenes)
    about = f"The demo model in llama.cpp ({options.server}) beside ours in float32"
    head = f"{about}; scores on {options.scenes} scenes, {date.today():%d %B %Y}."
    text = f"{head}\n\n{table(rows)}\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
