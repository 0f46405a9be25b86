"""Views of a picture: the first is what inference sees, and the others cost no more of a large one than of a small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from iaa_runtime.boxes.geometry import Box, iou, unpad_box
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.config import Task
from iaa_runtime.errors import Cancelled
from iaa_runtime.images.preprocess import preprocess
from iaa_runtime.pipeline.local import IAAPipeline
from iaa_runtime.teaching.examples import Example, Shown
from iaa_runtime.teaching.frozen import open_frozen
from iaa_runtime.teaching.lessons import SIDES_SEEN, Lessons, choose_views, write_lessons
from iaa_runtime.teaching.looking import box_starts
from iaa_runtime.teaching.views import View, whole

VIEWS = 20


@pytest.fixture(scope="module")
def pipeline() -> IAAPipeline:
    return open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)


def shown(size: tuple[int, int]) -> Shown:
    """A dark picture with a red box, which is the mascot."""
    width, height = size
    box = (0.3 * width, 0.2 * height, 0.6 * width, 0.7 * height)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 60, (height, width, 3), dtype=np.uint8))
    picture.paste((255, 0, 0), tuple(map(round, box)))
    return Shown((Example(picture, "the mascot", (box,)),))


Seen = Callable[[Shown], tuple[Lessons, Tensor, list[Image.Image]]]


@pytest.fixture
def seen(pipeline: IAAPipeline, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Writes lessons of one picture: these, what the tower gets, and what views are drawn from."""

    def write(of: Shown) -> tuple[Lessons, Tensor, list[Image.Image]]:
        pixels, sources, features, show = list[Tensor](), [], pipeline.model.vision_features, View.show
        with monkeypatch.context() as patch:
            patch.setattr(pipeline.model, "vision_features", lambda some: [pixels.append(some), features(some)][1])
            patch.setattr(View, "show", lambda view, image: [sources.append(image), show(view, image)][1])
            lessons = write_lessons(pipeline, Task.G, [of], VIEWS, 0)
        return lessons, torch.cat(pixels), sources

    return write


def as_inference(pipeline: IAAPipeline, pictures: list[Image.Image]) -> Tensor:
    vision = pipeline.model.vision
    return preprocess(pictures, vision.image_size, vision.image_mean, vision.image_std)


@pytest.mark.parametrize("size", [(100, 70), (33, 400), (480, 200)])
def test_of_a_picture_that_is_not_large_every_view_shows_the_picture_itself(
    pipeline: IAAPipeline, seen: Seen, size: tuple[int, int]
) -> None:
    assert max(size) <= SIDES_SEEN * pipeline.model.vision.image_size
    of = shown(size)
    views = [whole(size), *choose_views(of, size, Task.G, VIEWS - 1, "0 0", False)]
    _, pixels, _ = seen(of)
    assert torch.equal(pixels, as_inference(pipeline, [view.show(of.load()) for view in views]))


@pytest.mark.parametrize("size", [(3001, 2003), (900, 1700), (3000, 600)])
def test_of_a_large_picture_all_views_but_the_first_are_drawn_from_a_smaller_one(
    pipeline: IAAPipeline, seen: Seen, size: tuple[int, int]
) -> None:
    of = shown(size)
    lessons, pixels, sources = seen(of)
    assert torch.equal(pixels[:1], as_inference(pipeline, [of.load()]))
    assert sources[0].size == size
    assert {max(source.size) for source in sources[1:]} == {SIDES_SEEN * pipeline.model.vision.image_size}
    for view, (own,) in zip(pixels, lessons.taught, strict=True):
        found = red_box(view)
        if own.absent:
            assert found is None
        else:
            ((_, box),) = box_starts(own.answer, lessons.values)
            assert found is not None and iou(found, unpad_box(box, (120, 120))) > 0.85
    assert 3 < sum(own.absent for (own,) in lessons.taught) < 15


def test_a_long_thin_picture_is_seen_like_any_other(seen: Seen) -> None:
    """Its padded square has billions of pixels."""
    lessons, _, sources = seen(shown((60_000, 10)))
    assert len(lessons.features) == VIEWS and sources[1].size == (480, 1)


def red_box(pixels: Tensor) -> Box | None:
    """The extent in pixels of what is red, of one view that is (3, size, size) and normalised."""
    red, green, blue = pixels
    rows, columns = np.nonzero(((red > green + 1.5) & (red > blue + 1.5)).numpy())
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


def test_cancel_is_heard_at_every_view(pipeline: IAAPipeline) -> None:
    asked = [0]

    def cancelled() -> bool:
        asked[0] += 1
        return False

    write_lessons(pipeline, Task.G, [shown((40, 30))], VIEWS, 0, cancelled=cancelled)
    assert asked[0] > VIEWS
    before = asked[0]

    def later() -> bool:
        asked[0] += 1
        return asked[0] > before + 9

    with pytest.raises(Cancelled):
        write_lessons(pipeline, Task.G, [shown((40, 30))], VIEWS, 0, cancelled=later)
