"""How far the demo model heeds what a caption shall be like, by kind and with sentences added.

    python benchmarks/styles.py [--scenes 100]

It was taught what `iaa_runtime/shapes/captions.py` writes. A row counts what captions name, beside what the right ones
name, and how many are right to the letter.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import torch

from iaa_runtime import IAAPipeline
from iaa_runtime.shapes.captions import styled_caption
from iaa_runtime.shapes.evaluate import caption_objects
from iaa_runtime.shapes.language import tags
from iaa_runtime.shapes.scenes import EVALUATION_SEED, Scene, draw_scene, make_scene
from iaa_runtime.text.styles import EXTRAS, LENGTHS, LISTS, OPENINGS, caption_prompt

STYLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("caption", {}),
    ("detailed", {}),
    *(("caption", {"length": length}) for length in LENGTHS if length != "any"),
    *(("caption", {"extras": [extra]}) for extra in EXTRAS),
    ("caption", {"extras": ["no opening", "composition"], "length": "long"}),
    ("caption", {"forbid": ["circle"]}),
    ("caption", {"call": "ohwx"}),
    ("training", {}),
    ("training", {"length": "short", "extras": ["no opening"]}),
    ("alt", {}),
    ("image prompt", {}),
    ("objects", {}),
    ("tags", {}),
    ("tags", {"extras": ["no mood"]}),
)
"""Kinds, and what is added."""


def right_caption(scene: Scene, kind: str, style: dict[str, Any]) -> str:
    """What the model was taught to answer."""
    if kind in LISTS:
        return tags(scene)[0]
    return styled_caption(scene, kind, **{name: value for name, value in style.items() if name != "call"})


def main() -> None:
    """Prints a row a style."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    options = parser.parse_args()
    pipeline = IAAPipeline.from_pretrained(dtype=torch.float32)
    scenes = [make_scene(EVALUATION_SEED + number) for number in range(options.scenes)]
    pictures = [draw_scene(scene) for scene in scenes]
    openings = tuple(opening.lower() for opening in OPENINGS["English"])
    print("| kind | with | recall | precision | to the letter | words | openings |\n|---|---|---:|---:|---:|---:|---:|")
    for kind, style in STYLES:
        answers = pipeline.caption(pictures, caption_prompt(kind, **style))
        wanted = [right_caption(scene, kind, style) for scene in scenes]
        said, right = ([Counter(caption_objects(text)) for text in texts] for texts in (answers, wanted))
        found = sum((a & b).total() for a, b in zip(said, right, strict=True))
        named, there = (sum(counts.total() for counts in each) for each in (said, right))
        exact = sum(map(str.__eq__, answers, wanted)) / len(answers)
        words = sum(len(text.split()) for text in answers) / len(answers)
        opened = sum(any(opening in text.lower() for opening in openings) for text in answers)
        added = "; ".join(f"{name} {', '.join(v) if isinstance(v, list) else v}" for name, v in style.items())
        shares = f"{found / there:.3f} | {found / max(1, named):.3f} | {exact:.2f}"
        print(f"| {kind} | {added} | {shares} | {words:.1f} | {opened} |", flush=True)


if __name__ == "__main__":
    main()
