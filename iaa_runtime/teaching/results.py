"""What came of teaching: as a run gives it out, and as it is read again from the run's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..adaptors.file import Adaptor, read_adaptor
from ..config.teaching import TeachSettings
from ..errors import Cancel, InputError
from ..images.load import load_image
from ..jobs.files import read_torn_jsonl
from ..pipeline.local import IAAPipeline
from .examples import Example, checked
from .files import RunFiles
from .identity import identity_of, short_digest
from .pages import draw_curve

RUN = "run"
"""Where an adaptor's file notes a digest of all that made it."""


@dataclass(frozen=True)
class Taught:
    """What came of a run.

    Attributes:
        adaptor: as it was written.
        before: measures on held-out examples of the model as it was; empty where none were held out.
        after: the same with the adaptor.
        curve: the learning curve.
        sheet: held-out pictures before and after; None where none were held out, or where it was deleted or damaged.
        best: the step whose state was kept.
    """

    adaptor: Adaptor
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    curve: Image.Image
    sheet: Image.Image | None
    best: int


def taught_before(
    pipeline: IAAPipeline, examples: Sequence[Example], settings: TeachSettings, out: Path, cancelled: Cancel = None
) -> Taught | None:
    """What the same call of :func:`.teach.teach` made before; None unless its adaptor is there and no run is under way.

    The adaptor's own record decides; pictures beside it that were deleted or damaged are drawn anew, or left out.

    Raises:
        InputError: an example is not usable, which names its row; or the adaptor's file is damaged.
    """
    files = RunFiles(out)
    if files.begun() or not files.adaptor.is_file():
        return None
    adaptor = read_adaptor(files.adaptor)
    identity = identity_of(pipeline, checked(examples, settings.task, cancelled), settings, cancelled)
    return read_results(files, adaptor, settings) if adaptor.training.get(RUN) == short_digest(identity) else None


def read_results(files: RunFiles, adaptor: Adaptor, settings: TeachSettings) -> Taught:
    """What a run wrote; its curve is drawn anew where the picture of it was deleted or damaged.

    Args:
        files: of the run.
        adaptor: read from them.
        settings: of the run.
    """
    sheet = _kept(files.sheet) if adaptor.scores else None
    before, after = (adaptor.scores.get(name) or {} for name in ("before", "after"))
    best = adaptor.training.get("kept_step", settings.steps)
    curve = _kept(files.curve_png)
    if curve is None:
        curve = draw_curve(list(read_torn_jsonl(files.curve)), best if adaptor.scores else None)
    return Taught(adaptor, before, after, curve, sheet, best)


def _kept(picture: Path) -> Image.Image | None:
    """A picture that a run wrote; None where it was deleted or damaged, which makes the adaptor no worse."""
    with suppress(InputError):
        return load_image(picture) if picture.is_file() else None
    return None
