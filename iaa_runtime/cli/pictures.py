"""Picture files of the commands: opening those that they are given, naming and saving new ones."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from ..errors import ContextLengthError, CutOffError, IAAError, InputError, NoAnswerError, RefusedError
from ..images.load import check_image, load_image
from ..jobs.files import make_folder, write_atomically
from ..text.prompts import filled, picture_fields
from .arguments.ground import picture_path
from .arguments.shared import STDIN
from .failures import too_long
from .output import TokenCounter, complain, print_json
from .stdin import picture_file

Answer = Callable[[int, str, Image.Image, TokenCounter], Callable[[], None]]
"""Asks about a picture: takes its number, its path, the picture, and what hears of tokens. Returns what tells of the
answer."""

_OF_A_PICTURE = (ContextLengthError, CutOffError, RefusedError)
"""Errors that say of themselves that they are about one question, and not about all."""


def check_images(options: argparse.Namespace, failed: Mapping[str, InputError] | None = None) -> list[tuple[int, str]]:
    """The numbers, from 1, and paths of those that there are; tells of each other, before a model is opened.

    Args:
        options: of the command.
        failed: by path, why there can be no answer about some.

    Raises:
        InputError: of the last one, where there is none.
    """
    paths: list[str] = options.image
    good: list[tuple[int, str]] = []
    for number, path in enumerate(paths, 1):
        try:
            if failed and path in failed:
                raise failed[path]
            if path != STDIN:
                check_image(path)
            good.append((number, path))
        except InputError as error:
            if number == len(paths) and not good:
                raise
            _refuse(options, path, error)
    return good


def answer_each(
    options: argparse.Namespace,
    pictures: Sequence[tuple[int, str]],
    answer: Answer,
) -> int:
    """Answers about each picture; tells of one that cannot be opened, or about which there is no answer.

    Where a server gives none, such as by status 500, the same is asked about a grey picture: once that is answered,
    the picture alone is at fault.

    Args:
        options: of the command.
        pictures: their numbers and paths.
        answer: asks about one.

    Returns:
        The exit status: 1 if there is one without an answer, of all that were given.

    Raises:
        ContextLengthError, CutOffError, RefusedError: of a single picture.
        NoAnswerError: of a single picture; or a server answers about none.
    """
    done, single = 0, len(options.image) == 1
    for number, path in pictures:
        try:
            image = load_image(picture_file() if path == STDIN else path)
        except InputError as error:
            _refuse(options, path, error)
            continue
        counter = TokenCounter(path)
        try:
            tell = answer(number, path, image, counter)
        except (*_OF_A_PICTURE, NoAnswerError) as error:
            counter.clear()
            if single:
                raise
            if isinstance(error, NoAnswerError):
                with suppress(*_OF_A_PICTURE):  # which a server that is up says, too
                    answer(number, path, Image.new("RGB", image.size, "grey"), counter)
                counter.clear()
                error = RefusedError(error.among_others)
            _refuse(options, path, error, f"{path}: ")
        else:
            counter.clear()
            tell()
            done += 1
    return 0 if done == len(options.image) else 1


def _refuse(options: argparse.Namespace, path: str, error: IAAError, about: str = "") -> None:
    """Says on stderr why there is no answer about a picture, and with ``--json`` in its line, too."""
    complain(f"iaa {options.command}: {about}{error}{too_long(error)}")
    if options.json:
        print_json({"image": path, "error": str(error)})


def about_picture(text: str, path: str, **more: object) -> str:
    """The text with ``{name}`` and ``{folder}`` of a picture's file filled in, and with what else is given."""
    return filled(text, {**picture_fields("" if path == STDIN else os.path.abspath(path)), **more})


def save_picture(picture: Image.Image, path: Path, *, overwrite: bool = False) -> Path:
    """Writes a picture, whole or not at all, and makes missing folders.

    Raises:
        InputError: the ending names no picture format, the file cannot be written, or it is there already and differs.
    """
    file_format = Image.registered_extensions()[Path(picture_path(str(path))).suffix.lower()]
    make_folder(path.parent)
    try:
        write_atomically(path, lambda file: picture.save(file, file_format), overwrite=overwrite)
    except (IAAError, MemoryError):
        raise
    except Exception as error:  # Pillow's writers raise nearly any, mostly for a size that the format does not know
        raise InputError(f"{path} cannot be written ({error}). Use .png.") from error
    return path


def numbered(path: str, number: int, count: int) -> Path:
    """``path`` for a single picture; ``out-1.png``, ``out-2.png`` … for several."""
    chosen = Path(path)
    return chosen if count == 1 else chosen.with_stem(f"{chosen.stem}-{number}")
