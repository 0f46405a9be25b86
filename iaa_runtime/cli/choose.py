"""``iaa choose``: a question answered by one of some choices (task MM; without pictures task Text)."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from PIL import Image

from ..config import Task
from ..pipeline.choices import Choice
from .opening import open_pipeline
from .output import TokenCounter, print_json
from .pictures import about_picture, answer_each, check_images
from .stdin import given_text


def run(options: argparse.Namespace) -> int:
    """Chooses for each image; fails in the end if there is one without an answer."""
    question = given_text(options.question)
    pictures = check_images(options)
    pipeline = open_pipeline(options, Task.MM if options.image else Task.TEXT)
    if not options.image:
        (choice,) = pipeline.choose(None, question, options.choice)
        _tell(options, None, choice)
        return 0

    def answer(number: int, path: str, image: Image.Image, counter: TokenCounter) -> Callable[[], None]:
        (choice,) = pipeline.choose([image], about_picture(question, path, index=number), options.choice)
        return lambda: _tell(options, path, choice)

    return answer_each(options, pictures, answer)


def _tell(options: argparse.Namespace, path: str | None, choice: Choice) -> None:
    shares = dict(zip(options.choice, choice.probabilities, strict=True))
    if options.json:
        record = {"choice": choice.text, "index": choice.index, "probabilities": shares}
        print_json(({"image": path} if path is not None else {}) | record)
        return
    others = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    print(f"{f'{path}: ' if len(options.image) > 1 else ''}{choice.text} ({others})")
