"""``iaa demo``: all three workflows on one picture, in a minute, without a network or a graphics card."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ..errors import UsageError
from ..images.draw import crop_detections, detections_mask, draw_detections
from ..images.load import load_image
from ..images.names import slug
from ..jobs.same_file import same_file
from ..shapes.language import expression
from ..shapes.questions import visual_question
from ..shapes.scenes import EVALUATION_SEED, draw_scene, make_scene
from ..shapes.text_questions import text_question
from .opening import open_model
from .output import BOX, log, print_json
from .outputs import Outputs
from .pictures import save_picture

T = TypeVar("T")

PHRASES = 4
"""Phrases that are looked for in a scene of shapes."""


@dataclass(frozen=True)
class Topic:
    """A picture and the questions about it; ``truth`` holds the right answers by step, where they are known."""

    picture: Image.Image
    question: str
    phrases: list[str]
    prompt: str
    truth: dict[str, str]


def run(options: argparse.Namespace) -> int:
    """Captions, asks, grounds and answers a text; writes the pictures and prints how long each step took."""
    out = Path(options.out)
    if options.image and same_file(Path(options.image).parent, out):
        raise UsageError(f"{options.image} lies in {out}, where the demo's pictures go. Choose another --out.")
    outputs = Outputs(options)
    steps: list[dict[str, Any]] = []

    def save(picture: Image.Image, path: Path) -> Path:
        outputs.writes("--out", path, again=True)
        return save_picture(picture, path, overwrite=options.overwrite)

    def step(name: str, question: str, work: Callable[[], T], show: Callable[[T], Any]) -> T:
        start = time.perf_counter()
        result = work()
        record = {"step": name, "question": question, "answer": show(result)}
        steps.append({**record, "seconds": round(time.perf_counter() - start, 2)})
        if not options.json:
            _print_step(steps[-1], topic.truth.get(name))
        return result

    topic = choose_topic(options)
    start = time.perf_counter()
    pipeline = open_model(options)
    save(topic.picture, out / "scene.png")
    pipeline.model.load()
    log(f"loaded {pipeline.model.checkpoint.folder.name} in {time.perf_counter() - start:.1f} s\n")
    image = [topic.picture]
    step("caption", "", lambda: pipeline.caption(image)[0], str)
    step("question", topic.question, lambda: pipeline.caption(image, topic.question)[0], str)
    found = step(
        "ground",
        "; ".join(topic.phrases),
        lambda: pipeline.ground(image, topic.phrases)[0],
        lambda boxes: [d.to_dict() for d in boxes],
    )
    step("text", topic.prompt, lambda: pipeline.text(topic.prompt), str)
    files = [
        save(draw_detections(topic.picture, found), out / "annotated.png"),
        save(detections_mask(topic.picture.size, found), out / "mask.png"),
    ]
    for number, (detection, crop) in enumerate(zip(found, crop_detections(topic.picture, found), strict=True), 1):
        files.append(save(crop, out / f"crop-{number}-{slug(detection.label)}.png"))
    if options.json:
        print_json({"steps": steps, "files": [str(out / "scene.png"), *map(str, files)]})
    else:
        print(f"\nPictures: {out / 'scene.png'}\n          " + "\n          ".join(map(str, files)))
    return 0


def choose_topic(options: argparse.Namespace) -> Topic:
    """The picture that the options name, or a scene with questions whose answers are known."""
    rng = random.Random(options.seed)
    text_only = text_question(rng)
    if options.image:
        question = options.question or "What is in the picture?"
        return Topic(load_image(options.image), question, options.phrase or ["the main object"], text_only.question, {})
    scene = make_scene(EVALUATION_SEED + options.seed, shapes=5, aspect=1.5, long_side=900)
    visual = visual_question(scene, rng)
    phrases: list[str] = []
    for _ in range(50):  # few scenes have fewer different phrases than this finds
        phrase = expression(scene, rng).phrase
        if phrase not in phrases and len(phrases) < PHRASES:
            phrases.append(phrase)
    truth = {"text": text_only.answer} if options.question else {"text": text_only.answer, "question": visual.answer}
    return Topic(
        draw_scene(scene), options.question or visual.question, options.phrase or phrases, text_only.question, truth
    )


def _print_step(step: dict[str, Any], truth: str | None) -> None:
    took = f"[{step['seconds']:.1f} s]"
    if isinstance(step["answer"], list):
        print(f"{took} {step['step']}:")
        for box in step["answer"]:
            print(f"         {box['label']}: {BOX.format(**box)}")
        return
    question = f" {step['question']} →" if step["question"] else ""
    print(f"{took} {step['step']}:{question} {step['answer']}" + (f"   (right: {truth})" if truth else ""))
