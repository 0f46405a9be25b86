"""What a run of teaching is made of: with anything else it does not go on, and its file is not taken for another's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from ..config.teaching import TeachSettings
from ..errors import Cancel, InputError, check_cancelled
from ..jobs.files import file_digest, json_line, read_text, write_bytes
from ..pipeline.local import IAAPipeline
from .examples import Example, by_picture
from .files import RunFiles


def identity_of(
    pipeline: IAAPipeline, examples: Sequence[Example], settings: TeachSettings, cancelled: Cancel = None
) -> dict[str, Any]:
    """The model, the settings, and a digest of examples, what their pictures show included.

    Raises:
        InputError: a picture cannot be read.
        Cancelled: the callback says so; it is asked before each picture.
    """
    digest = hashlib.sha256()
    for shown in by_picture(examples):
        check_cancelled(cancelled)
        image = shown.examples[0].image
        digest.update(_contents(image).encode())
        for example in shown.examples:
            name = example.picture_key if isinstance(image, Path) else None
            digest.update(json_line([name, example.asked, example.boxes, example.answer, example.before]))
    about = {"examples": digest.hexdigest()[:16], "device": pipeline.model.device.type, **pipeline.identity()}
    return about | asdict(settings) | {"task": settings.task.value}


def short_digest(identity: Mapping[str, Any]) -> str:
    """A short name for an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def begin(files: RunFiles, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Notes what a run is made of, or sees to it that the one that is there is of the same.

    Args:
        files: of the run, which is under way.
        identity: of :func:`identity_of`.
        overwrite: a run of anything else is removed.

    Raises:
        InputError: there is a run of something else.
    """
    if files.settings.exists():
        other = _others(files.settings, identity)
        if not other:
            return
        if not overwrite:
            raise InputError(
                f"{files.parts} holds an unfinished run with other {', '.join(other)}. Go on with what it was begun "
                "with, remove the folder, choose another name for the adaptor, or have it replaced (overwrite)."
            )
        files.remove_parts()
    write_bytes(files.settings, json.dumps(identity).encode() + b"\n")


def _others(path: Path, identity: Mapping[str, Any]) -> list[str]:
    """What a file of settings says differently."""
    try:
        known = json.loads(read_text(path))
    except (ValueError, RecursionError):
        known = None
    known = known if isinstance(known, dict) else {}
    return [name for name, value in identity.items() if known.get(name) != value]


def _contents(image: Path | Image.Image) -> str:
    """A digest of a picture: a file may have been replaced by another of its name."""
    if isinstance(image, Path):
        return file_digest(image)
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()
