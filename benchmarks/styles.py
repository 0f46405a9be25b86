"""What the demo model can show of caption styles: whether what it names is there, by kind and with sentences added.

    python benchmarks/styles.py [--scenes 100]

It was taught to answer the ready questions in their own forms, and none of the sentences that choose a length, ask for
more or forbid words; what those do to its answers is what anybody sees who adds them to it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import torch

from iaa_runtime import IAAPipeline
from iaa_runtime.shapes.evaluate import caption_objects
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene
from iaa_runtime.text.styles import CHINESE, LISTS, OPENINGS, caption_prompt

STYLES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("caption", "", {}),
    ("detailed", "", {}),
    ("objects", "", {}),
    ("tags", "", {}),
    ("caption", "length short", {"length": "short"}),
    ("caption", "length long", {"length": "long"}),
    ("caption", "no opening", {"extras": ["no opening"]}),
    ("caption", "colours, composition", {"extras": ["colours", "composition"]}),
    ("tags", "not a circle", {"forbid": ["circle"]}),
    ("training", "", {}),
    ("alt", "", {}),
    ("caption", "in Chinese", {"language": CHINESE}),
)
"""Kinds, what is added, and how."""


def main() -> None:
    """Prints a row a style."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    options = parser.parse_args()
    pipeline = IAAPipeline.from_pretrained(dtype=torch.float32)
    scenes = [make_scene(EVALUATION_SEED + number) for number in range(options.scenes)]
    pictures = [draw_scene(scene) for scene in scenes]
    openings = tuple(opening.lower() for opening in OPENINGS["English"])
    print(
        "| kind | with | recall | precision | words | openings | as asked alone |\n|---|---|---:|---:|---:|---:|---:|"
    )
    alone: dict[str, list[str]] = {}
    for kind, added, style in STYLES:
        answers = pipeline.caption(pictures, caption_prompt(kind, **style))
        alone.setdefault(kind, answers)
        found = there = named = 0
        for scene, text in zip(scenes, answers, strict=True):
            right = Counter((shape.color, shape.kind) for shape in scene.shapes)
            said = Counter(caption_objects(text))
            if kind in LISTS:  # each is listed once
                right, said = Counter(dict.fromkeys(right, 1)), Counter(dict.fromkeys(said, 1))
            found, there, named = found + (right & said).total(), there + right.total(), named + said.total()
        words = sum(len(text.split()) for text in answers) / len(answers)
        opened = sum(any(opening in text.lower() for opening in openings) for text in answers)
        same = sum(map(str.__eq__, answers, alone[kind]))
        shares = f"{found / there:.3f} | {found / max(1, named):.3f}"
        print(f"| {kind} | {added} | {shares} | {words:.1f} | {opened} | {same} of {len(answers)} |", flush=True)


if __name__ == "__main__":
    main()
