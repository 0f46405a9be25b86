"""Picture files of the commands: opening those that ``--image`` names, naming and saving new ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ..errors import InputError
from ..images.load import load_image
from ..jobs.files import write_atomically
from .output import log


def load_images(command: str, paths: list[str]) -> Iterator[tuple[int, str, Image.Image]]:
    """Yields each path's number, from 1, the path and its picture; logs an error for one that cannot be opened."""
    for number, path in enumerate(paths, 1):
        try:
            image = load_image(path)
        except InputError as error:
            log(f"iaa {command}: {error}")
        else:
            yield number, path, image


def picture_path(text: str) -> str:
    """Checks the name of a picture to write; for use with :func:`.arguments.checked`.

    Raises:
        InputError: its ending names no picture format.
    """
    if Path(text).suffix.lower() not in Image.registered_extensions():
        raise InputError(f"{text!r} has no ending of a picture format. Use .png, .jpg or .webp.")
    return text


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Writes a picture, whole or not at all, and makes missing folders.

    Raises:
        InputError: the ending names no picture format, or the file cannot be written.
    """
    file_format = Image.registered_extensions()[Path(picture_path(str(path))).suffix.lower()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}). Choose another place.") from error
    write_atomically(path, lambda file: picture.save(file, file_format))
    return path


def numbered(path: str, number: int, count: int) -> Path:
    """``path`` for a single picture; ``out-1.png``, ``out-2.png`` … for several."""
    chosen = Path(path)
    return chosen if count == 1 else chosen.with_stem(f"{chosen.stem}-{number}")


def slug(text: str, limit: int = 40) -> str:
    """``text`` as a part of a file name: words in any script, joined by hyphens."""
    return "-".join(re.findall(r"\w+", text.lower()))[:limit].strip("-") or "box"
