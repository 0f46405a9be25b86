"""What asking more costs: a choice beside reading the prompt once, and labelling everything beside its parts.

    python benchmarks/asking.py [--choices 8] [--images 8] [--repeats 5] [--clock cpu] [--model FOLDER]

A choice is rated by matrices of the real size: give a checkpoint of `iaa bench --size wide` or larger as --model.
Labels are those of the demo checkpoint, which says something that can be found.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from iaa_runtime import IAAPipeline
from iaa_runtime.bench.timing import Clock, interleaved, median_ratio
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene
from iaa_runtime.text.listing import listed_objects
from iaa_runtime.text.prompts import CAPTION_PROMPTS


def main() -> None:
    """Measures both sides in turn and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", type=int, default=8)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--model", default=str(DEMO_CHECKPOINT))
    options = parser.parse_args()
    pictures = [draw_scene(make_scene(EVALUATION_SEED + number)) for number in range(options.images)]
    choose_beside_prefill(options, pictures[0])
    label_beside_its_parts(options, pictures)


def choose_beside_prefill(options: argparse.Namespace, picture: Any) -> None:
    """A choice is a prompt, and a few tokens for each choice; a caption of one token is a prompt and hardly more."""
    pipeline = IAAPipeline.from_pretrained(options.model, device="auto")
    question = "What is in the middle of this image?"
    choices = [f"a thing of kind {number}" for number in range(options.choices)]
    runs = {
        "choose": lambda: pipeline.choose(picture, question, choices),
        "prefill": lambda: pipeline.caption(picture, question, max_new_tokens=1),
    }
    seconds = interleaved(runs, options.repeats, Clock(options.clock, pipeline.model.device))
    ratio = median_ratio(seconds["choose"], seconds["prefill"])
    print(f"one of {options.choices} choices, beside the prompt alone ({pipeline.model.dtype}): {ratio:.2f}")


def label_beside_its_parts(options: argparse.Namespace, pictures: list[Any]) -> None:
    """The list, and the search for what is on it."""
    pipeline = IAAPipeline.from_pretrained(dtype=torch.float32)
    prompt = CAPTION_PROMPTS["objects"]
    phrases = [listed_objects(text) for text in pipeline.caption(pictures, prompt)]
    runs = {
        "label": lambda: pipeline.label(pictures),
        "parts": lambda: (pipeline.caption(pictures, prompt), pipeline.ground(pictures, phrases)),
    }
    seconds = interleaved(runs, options.repeats, Clock(options.clock, pipeline.model.device))
    ratio = median_ratio(seconds["label"], seconds["parts"])
    print(f"everything in {len(pictures)} images, beside its parts: {ratio:.2f}")


if __name__ == "__main__":
    main()
