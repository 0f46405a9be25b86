"""What drafting saves: forward passes and time of grounding with it and without, and whether answers are the same.

    python benchmarks/drafting.py [--phrases 1000] [--rows 1] [--seed 0] [--precision int8]

The demo checkpoint looks for phrases about drawn scenes; each batch is answered both ways in turn.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

import torch

from iaa_runtime import GenerationConfig, IAAPipeline, Task
from iaa_runtime.config import PRECISIONS
from iaa_runtime.generation.grammar import BoxGrammar, grammar_for
from iaa_runtime.generation.loop import generate
from iaa_runtime.generation.prefill import Prompt
from iaa_runtime.model.stack import Stack
from iaa_runtime.pipeline.base import Question
from iaa_runtime.shapes.language import expression
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene
from iaa_runtime.text.prompts import grounding_question


class Undrafted:
    """A grammar whose drafts are not asked for."""

    def __init__(self, grammar: BoxGrammar) -> None:
        self.hold = grammar.hold


class Passes:
    """Counts forward passes."""

    def __init__(self) -> None:
        self.count, hidden = 0, Stack.hidden

        def counted(stack: Stack, *args: Any, **more: Any) -> torch.Tensor:
            self.count += 1
            return hidden(stack, *args, **more)

        Stack.hidden = counted  # type: ignore[method-assign]


def batches(pipeline: IAAPipeline, phrases: int, rows: int, seed: int) -> list[list[Prompt]]:
    """Prompts of phrases about scenes that nobody trained on, ``rows`` a scene."""
    found = []
    for number in range(phrases // rows):
        scene, rng = make_scene(EVALUATION_SEED + seed + number), random.Random(seed + number)
        picture = draw_scene(scene)
        asked = [grounding_question(expression(scene, rng).phrase) for _ in range(rows)]
        found.append(pipeline._prompts([Question.about(picture, text) for text in asked], Task.G))
    return found


def main() -> None:
    """Measures both ways and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phrases", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1, help="phrases about one picture, answered as a batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=PRECISIONS, help="of the weights; as stored when left out")
    options = parser.parse_args()
    pipeline = IAAPipeline.from_pretrained(dtype=torch.float32, precision=options.precision)
    grammar = grammar_for(pipeline.tokenizer, pipeline.model.config.vocab_size, pipeline.eos, True)
    stack, config, passes = pipeline.model.stack("G"), GenerationConfig.for_task(Task.G), Passes()
    seconds, counts, same, boxes = [0.0, 0.0], [0, 0], 0, 0
    scores = 0.0
    for prompts in batches(pipeline, options.phrases, options.rows, options.seed):
        answers = []
        for way, constraint in enumerate((grammar, Undrafted(grammar))):
            before, begun = passes.count, time.perf_counter()
            answers.append(generate(stack, prompts, config, [pipeline.eos], constraint=constraint))
            seconds[way] += time.perf_counter() - begun
            counts[way] += passes.count - before
        for drafted, plain in zip(*answers, strict=True):
            same += drafted.ids == plain.ids
            boxes += pipeline.tokenizer.decode(plain.ids).count("]")
            scores = max([scores, *(abs(a - b) for a, b in zip(drafted.logprobs, plain.logprobs, strict=False))])
    asked = options.phrases // options.rows * options.rows
    print(f"{asked} phrases, {options.rows} at once, {boxes} boxes: {same} answers token for token the same,")
    print(f"log-probabilities at most {scores:.1e} apart; with drafting / without: forward passes")
    print(f"(the prompt's included) {counts[0] / counts[1]:.3f}, time {seconds[0] / seconds[1]:.3f}")


if __name__ == "__main__":
    main()
