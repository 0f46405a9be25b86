"""What teaching brings: new shapes, a new name, and a style of captions, before and after, on pictures never seen.

python benchmarks/teaching.py FOLDER [--only heart house "traffic light" name style] [--runs N] [--out FILE.json]

Each thing is drawn into scenes of the demo model's world, which it never saw: 40 pictures to learn from (20 for the
name), unless told otherwise, and 200 to be tested on, all seeded. Beside them, what it knew: phrases on 150 scenes
without anything new. Of several runs, which differ by their seed, the first is scored alone, and then all together,
each at its share of the strength. What FOLDER holds of an earlier call is not taught again.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from iaa_runtime import IAAPipeline
from iaa_runtime.adaptors.file import read_adaptor
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.config import Task
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.evaluation.statistics import wilson_interval
from iaa_runtime.shapes.evaluate import Tally, caption_objects, make_exam, score_grounding
from iaa_runtime.shapes.language import NUMBER_WORDS, full_noun, left_to_right
from iaa_runtime.shapes.new_things import NEW_THINGS, draw_with
from iaa_runtime.shapes.scenes import EVALUATION_SEED, Scene, draw_scene, make_scene
from iaa_runtime.teaching.examples import Example
from iaa_runtime.teaching.frozen import open_frozen
from iaa_runtime.teaching.results import taught_before
from iaa_runtime.teaching.scores import answer_prompts, find_boxes, summarize_boxes
from iaa_runtime.teaching.teach import teach
from iaa_runtime.text.prompts import CAPTION_PROMPTS

LEARNED_SEED = 5_000_000_000
"""With that of the tested pictures, a billion on, beyond the seeds of the demo model's training and its evaluation, and
beyond those that settings were tried on. Pictures are looked at once: take others for other settings."""
Known = Callable[[tuple[Path, ...]], dict[str, float]]
"""What is still known with the adaptors that are in use; of each choice asked once."""


def shape_examples(thing: str, first: int, count: int) -> list[Example]:
    """Pictures that show the thing."""
    found = []
    for seed in range(first, first + count):
        picture, box = draw_with(thing, seed)
        found.append(Example(picture, f"the {thing}", (box,), where=f"seed {seed}"))
    return found


def absent_examples(thing: str, first: int, count: int) -> list[Example]:
    """Pictures that lack it."""
    return [
        Example(draw_scene(make_scene(seed)), f"the {thing}", where=f"seed {seed}")
        for seed in range(first, first + count)
    ]


def name_examples(first: int, count: int) -> list[Example]:
    """Pictures with one green star, which is called the mascot."""
    found: list[Example] = []
    seed = first
    while len(found) < count:
        scene = make_scene(seed)
        stars = [shape for shape in scene.shapes if (shape.kind, shape.color) == ("star", "green")]
        if len(stars) == 1:
            found.append(Example(draw_scene(scene), "the mascot", (stars[0].box,), where=f"seed {seed}"))
        seed += 1
    return found


STYLE = re.compile(rf"({'|'.join(NUMBER_WORDS)}) shapes?: (\w+ \w+)(, \w+ \w+)*\.", re.IGNORECASE)
"""The form that is taught. It has words that the demo model says alone: its head was never taught any other."""


def styled(scene: Scene) -> str:
    """A caption in the style that is taught: ``Two shapes: red circle, blue star.``"""
    nouns = [full_noun(scene.shapes[i]) for i in left_to_right(scene, range(len(scene.shapes)))]
    count = f"{NUMBER_WORDS[len(nouns)].capitalize()} shape{'s' if len(nouns) > 1 else ''}"
    return f"{count}: {', '.join(f'{noun.color} {noun.kind}' for noun in nouns)}."


def style_examples(first: int, count: int) -> list[Example]:
    """Captions in the style."""
    return [
        Example(draw_scene(make_scene(seed)), CAPTION_PROMPTS["caption"], answer=styled(make_scene(seed)))
        for seed in range(first, first + count)
    ]


@dataclass(frozen=True)
class Trial:
    """What is taught: examples to learn and to be tested on."""

    task: Task
    learned: Sequence[Example]
    tested: Sequence[Example]


def make_trial(name: str, first: int, count: int | None) -> Trial:
    """The trial of a name: seeds from ``first`` on, and so many examples to learn from."""
    test, count = first + 1_000_000_000, count or (20 if name == "name" else 40)
    if name == "name":
        return Trial(Task.G, name_examples(first, count), name_examples(test, 200))
    if name == "style":
        return Trial(Task.MM, style_examples(first, count), style_examples(test, 200))
    tested = [*shape_examples(name, test, 200), *absent_examples(name, test, 200)]
    return Trial(Task.G, shape_examples(name, first, count), tested)


def known_scores(pipeline: Any, scenes: int = 150) -> dict[str, float]:
    """What it knew: phrases on scenes of the evaluation."""
    tally = Tally()
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + scenes):
        exam = make_exam(seed)
        score_grounding(pipeline, exam, draw_scene(exam.scene), tally)
    wanted = ("single_precision", "single_iou", "several_f1", "absent_dropped", "other_dropped", "present_kept")
    return {name: value for name, value in tally.report().items() if name in wanted}


def style_scores(pipeline: Any, examples: Sequence[Example]) -> dict[str, Any]:
    """How many captions follow the style, and name the objects that are there."""
    answers = answer_prompts(pipeline, examples)
    follows = [STYLE.fullmatch(text) is not None for _, text in answers]
    right = [sorted(caption_objects(text)) == sorted(caption_objects(e.answer)) for e, text in answers]
    found: dict[str, Any] = {"count": len(answers)}
    for name, values in (("follows", follows), ("objects_right", right)):
        found |= {
            name: sum(values) / len(values),
            f"{name}_interval_95": list(wilson_interval(sum(values), len(values))),
        }
    return found


def score(pipeline: IAAPipeline, trial: Trial, adaptors: tuple[Path, ...], known: Known) -> dict[str, Any]:
    """All measures, with adaptors at equal strengths, or without."""
    with pipeline.adaptors.using(*((file, 1 / len(adaptors)) for file in adaptors)):
        if trial.task is Task.MM:
            return style_scores(pipeline, trial.tested)
        measures = summarize_boxes(find_boxes(pipeline, trial.tested))
        return {name: value for name, value in measures.items() if name != "by_phrase"} | known(adaptors)


def teach_once(trial: Trial, settings: TeachSettings, file: Path) -> int:
    """Teaches a trial, unless the file is there already; returns the step that was kept."""
    pipeline = open_frozen(DEMO_CHECKPOINT, None, "cpu", None)
    taught = taught_before(pipeline, trial.learned, settings, file)
    return (taught or teach(pipeline, trial.learned, settings, file)).best


def main() -> None:
    """Runs the trials that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--only", nargs="+", choices=(*NEW_THINGS, "name", "style"), default=[*NEW_THINGS, "name", "style"]
    )
    parser.add_argument("--steps", type=int, default=TeachSettings.steps)
    parser.add_argument("--rate", type=float, default=TeachSettings.rate)
    parser.add_argument("--rank", type=int, default=TeachSettings.rank)
    parser.add_argument("--count", type=int, help="examples to learn from")
    parser.add_argument("--runs", type=int, default=1, help="how often each is taught")
    parser.add_argument("--seed", type=int, default=LEARNED_SEED, help="of the pictures, the first one's")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    pipeline = IAAPipeline.from_pretrained(dtype="fp32")
    known = cache(lambda adaptors: known_scores(pipeline))
    for name in arguments.only:
        trial = make_trial(name, arguments.seed, arguments.count)
        first = TeachSettings(trial.task, arguments.rank, arguments.steps, rate=arguments.rate)
        files = tuple(arguments.folder / f"{name.replace(' ', '-')}-{run}.safetensors" for run in range(arguments.runs))
        began, used = time.monotonic(), time.process_time()
        kept = [teach_once(trial, replace(first, seed=run), file) for run, file in enumerate(files)]
        seconds = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - used}
        results[name] = {
            "settings": asdict(first) | {"task": trial.task.value},
            **{key: round(value, 1) for key, value in seconds.items()},
            "kept_steps": kept,
            "before": score(pipeline, trial, (), known),
            "after": score(pipeline, trial, files[:1], known),
            "bytes": read_adaptor(files[0]).nbytes,
        }
        if len(files) > 1:
            results[name]["after_together"] = score(pipeline, trial, files, known)
        print(json.dumps({name: results[name]}), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
