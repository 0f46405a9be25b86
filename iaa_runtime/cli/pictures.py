"""Picture files of the commands: opening those that ``--image`` names, naming and saving new ones."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ..errors import IAAError, InputError
from ..images.load import load_image
from ..jobs.files import make_folder, write_atomically
from .failures import too_long
from .output import log


def load_images(command: str, paths: list[str]) -> Iterator[tuple[int, str, Image.Image]]:
    """Yields each path's number, from 1, the path and its picture; logs an error for one that cannot be opened."""
    for number, path in enumerate(paths, 1):
        try:
            image = load_image(path)
        except InputError as error:
            log(f"iaa {command}: {error}{too_long(error)}")
        else:
            yield number, path, image


def picture_path(text: str) -> str:
    """Checks the name of a picture to write; for use with :func:`.arguments.checked`.

    Raises:
        InputError: its ending names no format that pictures and masks can be written in here.
    """
    file_format = Image.registered_extensions().get(Path(text).suffix.lower())
    try:
        # Formats that are only read, that know black and white alone, or that want a program that is not here.
        for mode in ("RGB", "L"):
            Image.new(mode, (1, 1)).save(io.BytesIO(), file_format or "")
    except (KeyError, OSError, ValueError):
        raise InputError(
            f"{text!r} has no ending of a picture format that can be written. Use .png, .jpg or .webp."
        ) from None
    return text


def folder_path(text: str) -> str:
    """Checks the name of a folder for pictures; for use with :func:`.arguments.checked`.

    Raises:
        InputError: it is the name of a picture, or of something that is no folder.
    """
    path = Path(text)
    if not path.is_dir() and (path.exists() or path.suffix.lower() in Image.registered_extensions()):
        raise InputError(f"{text!r} is no folder. Give a new folder, or one that is there.")
    return text


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


def slug(text: str, limit: int = 40) -> str:
    """``text`` as a part of a file name: words in any script, joined by hyphens."""
    return "-".join(re.findall(r"\w+", text.lower()))[:limit].strip("-") or "box"
