from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from iaa_runtime.boxes.answers import Detection
from iaa_runtime.images.draw import crop_detections, detections_mask, draw_detections
from iaa_runtime.images.load import load_image

PANDA = Path(__file__).parents[2] / "reference" / "readpanda.jpg"

Plate = tuple[int, int, int, int]


def written(
    image: Image.Image, detections: list[Detection]
) -> tuple[np.ndarray[Any, Any], list[tuple[str, int, Plate, Any]]]:
    """Draws, watching what is written: the result's pixels, and text, font size, plate and plate colour per label."""
    texts: list[tuple[str, int]] = []
    plates: list[tuple[Plate, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        text, rectangle = ImageDraw.ImageDraw.text, ImageDraw.ImageDraw.rectangle

        def watched_text(self: Any, xy: Any, content: str, **options: Any) -> None:
            texts.append((content, options["font"].size))
            text(self, xy, content, **options)

        def watched_rectangle(self: Any, xy: Any, fill: Any = None, **options: Any) -> None:
            if fill is not None:
                plates.append(((xy[0], xy[1], xy[2] + 1, xy[3] + 1), fill))
            rectangle(self, xy, fill, **options)

        patch.setattr(ImageDraw.ImageDraw, "text", watched_text)
        patch.setattr(ImageDraw.ImageDraw, "rectangle", watched_rectangle)
        drawn = np.asarray(draw_detections(image, detections))
    assert len(texts) == len(plates) == len(detections)
    return drawn, [(*words, *plate) for words, plate in zip(texts, plates, strict=True)]


def share_a_pixel(a: Plate, b: Plate) -> bool:
    return max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])


@st.composite
def pictures(draw: st.DrawFn, least: int = 1, most: int = 300) -> tuple[tuple[int, int], list[Detection]]:
    width, height = draw(st.integers(least, most)), draw(st.integers(least, most))
    detections = []
    for _ in range(draw(st.integers(0, 6))):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        w, h = draw(st.integers(1, width - x)), draw(st.integers(1, height - y))
        detections.append(Detection(x, y, w, h, draw(st.text(max_size=30)), draw(st.floats(0, 1))))
    return (width, height), detections


# Drawing -------------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pictures())
def test_any_detections_can_be_drawn_on_any_picture(picture: tuple[tuple[int, int], list[Detection]]) -> None:
    size, detections = picture
    image = Image.new("RGB", size, (90, 120, 60))
    drawn = draw_detections(image, detections)
    assert (drawn.mode, drawn.size) == ("RGB", size)
    assert np.asarray(image).reshape(-1, 3).tolist() == [[90, 120, 60]] * (size[0] * size[1])
    if not detections:
        assert np.array_equal(np.asarray(drawn), np.asarray(image))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pictures(least=48, most=600))
def test_every_label_lies_inside_the_picture(picture: tuple[tuple[int, int], list[Detection]]) -> None:
    (width, height), detections = picture
    _, labels = written(Image.new("RGB", (width, height)), detections)
    for text, font_size, (left, top, right, bottom), _ in labels:
        assert text
        assert font_size >= 8
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "RGB"])
def test_pictures_of_other_modes_come_back_in_rgb(mode: str) -> None:
    drawn = draw_detections(Image.new(mode, (40, 40)), [Detection(5, 5, 20, 20, "a", 0.5)])
    assert drawn.mode == "RGB"


@pytest.mark.parametrize("size", [(32, 32), (640, 480), (3264, 2448)])
def test_a_frame_shows_even_on_a_ground_of_its_own_colour(size: tuple[int, int]) -> None:
    width, height = size
    box = Detection(width // 4, height // 4, width // 2, height // 2, "panda", 0.5)
    middle = height // 2
    _, ((_, _, _, color),) = written(Image.new("RGB", size), [box])
    drawn, ((_, _, plate, _),) = written(Image.new("RGB", size, color), [box])
    assert not plate[1] <= middle < plate[3]
    assert drawn[middle, box.x].tolist() == list(color)
    assert drawn[middle, box.x + box.width - 1].tolist() == list(color)
    assert drawn[middle, box.x - 1].tolist() == [0, 0, 0]
    assert drawn[middle, box.x + box.width].tolist() == [0, 0, 0]
    assert drawn[middle, width // 2].tolist() == list(color)  # nothing is drawn over what was found
    line = int(np.argmax((drawn[middle, box.x :] != color).any(axis=1)))
    assert max(1, width // 500) <= line <= max(1, width // 100)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 20])
def test_the_frame_of_a_small_box_stays_small(side: int) -> None:
    image = Image.new("RGB", (2000, 2000), "white")
    box = Detection(1000, 1000, side, side, "dot", 0.5)
    drawn, ((_, _, plate, color),) = written(image, [box])
    changed = (drawn != 255).any(axis=2)
    changed[plate[1] : plate[3], plate[0] : plate[2]] = False
    rows, columns = np.nonzero(changed)
    for places in (rows, columns):
        assert places.size == 0 or (places.min() >= 1000 - 3 and places.max() < 1000 + side + 3)
    inside = drawn[1000 : 1000 + side, 1000 : 1000 + side].reshape(-1, 3).tolist()
    assert list(color) in inside or share_a_pixel(box.xyxy, plate)


def test_small_boxes_are_drawn_over_large_ones() -> None:
    large, small = Detection(20, 40, 200, 100, "large", 0.5), Detection(20, 60, 30, 30, "small", 0.5)
    for order in ([large, small], [small, large]):
        drawn, labels = written(Image.new("RGB", (300, 200)), order)
        colors = {detection.label: label[3] for detection, label in zip(order, labels, strict=True)}
        assert drawn[75, 20].tolist() == list(colors["small"])
        assert drawn[120, 20].tolist() == list(colors["large"])


# Labels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detection", "text"),
    [
        (Detection(10, 40, 50, 50, "red panda", 0.866), "red panda 0.87"),
        (Detection(10, 40, 50, 50, " red\n\tpanda ", 1.0), "red panda 1.00"),
        (Detection(10, 40, 50, 50, "", 0.5), "0.50"),
        (Detection(10, 40, 50, 50, "a\0\u202eb\ud800c", 0.5), "abc 0.50"),
    ],
)
def test_labels_say_what_and_how_sure(detection: Detection, text: str) -> None:
    _, ((label, *_),) = written(Image.new("RGB", (400, 300)), [detection])
    assert label == text


def test_boxes_of_one_label_are_numbered() -> None:
    found = [Detection(9, 30 * n, 20, 20, label, 0.5) for n, label in enumerate(["star", "ring", "star", "", ""], 1)]
    _, labels = written(Image.new("RGB", (400, 300)), found)
    assert [text for text, *_ in labels] == ["1. star 0.50", "ring 0.50", "2. star 0.50", "0.50", "0.50"]


@pytest.mark.parametrize("size", [(64, 48), (40, 200)])
def test_a_tiny_picture_is_not_hidden_by_its_labels(size: tuple[int, int]) -> None:
    """64 x 48 pixels with three labels were three plates and nothing else."""
    found = [Detection(2 + 12 * n, 20, 10, 10, f"the small green star {n}", 0.5) for n in range(3)]
    _, labels = written(Image.new("RGB", size), found)
    hidden = sum((plate[2] - plate[0]) * (plate[3] - plate[1]) for _, _, plate, _ in labels)
    assert hidden < size[0] * size[1] / 4
    assert [text for text, *_ in labels] == ["1", "2", "3"] or size == (40, 200)


def test_letters_grow_with_the_picture() -> None:
    sizes = []
    for scale in (1, 4, 16):
        box = Detection(20 * scale, 60 * scale, 50 * scale, 50 * scale, "panda", 0.5)
        _, ((_, font_size, plate, _),) = written(Image.new("RGB", (200 * scale, 160 * scale)), [box])
        sizes.append(font_size)
        assert plate[3] <= box.y  # above the box, where there is room
        assert plate[0] == box.x
    assert sizes[0] >= 8
    assert 60 <= sizes[2] <= 100  # 3200 x 2560


def test_a_label_too_long_for_the_picture_is_cut_and_stays_readable() -> None:
    _, ((text, font_size, plate, _),) = written(
        Image.new("RGB", (64, 200)), [Detection(5, 50, 30, 30, "the head of the red panda", 0.5)]
    )
    assert text.endswith("…")
    assert "the head of the red panda".startswith(text[:-1])
    assert len(text) >= 6
    assert font_size == 8
    assert plate[2] <= 64


def test_letters_shrink_before_words_are_cut() -> None:
    long = "the head of the red panda on the left"
    _, ((text, font_size, _, _),) = written(Image.new("RGB", (210, 1000)), [Detection(5, 50, 30, 30, long, 0.5)])
    assert text == f"{long} 0.50"
    assert font_size < 12


def test_labels_do_not_cover_each_other_where_there_is_room() -> None:
    same = [Detection(100, 100, 150, 100, f"thing {i}", 0.5) for i in range(14)]
    row = [Detection(20 + 60 * i, 250, 50, 50, "a long label", 0.5) for i in range(6)]
    _, labels = written(Image.new("RGB", (500, 400)), same + row)
    plates = [plate for _, _, plate, _ in labels]
    assert not any(share_a_pixel(a, b) for i, a in enumerate(plates) for b in plates[:i])


@pytest.mark.parametrize("corner", [(0, 0), (360, 0), (0, 260), (360, 260)])
def test_a_label_leaves_its_small_box_free(corner: tuple[int, int]) -> None:
    box = Detection(*corner, 40, 40, "label wider than the box", 0.5)
    _, ((_, _, plate, _),) = written(Image.new("RGB", (400, 300)), [box])
    assert not share_a_pixel(box.xyxy, plate)


def test_a_box_of_the_whole_picture_wears_its_label_inside() -> None:
    drawn, ((_, _, plate, _),) = written(Image.new("RGB", (400, 300)), [Detection(0, 0, 400, 300, "all", 0.5)])
    assert plate[:2] == (0, 0)
    assert drawn[299, 200].any()  # and its frame is not lost at the edge


def test_a_large_box_at_the_upper_edge_wears_its_label_inside() -> None:
    _, ((_, _, plate, _),) = written(Image.new("RGB", (400, 300)), [Detection(50, 0, 300, 250, "panda", 0.5)])
    assert plate[:2] == (50, 0)


def test_time_is_linear_in_the_boxes() -> None:
    found = [Detection(n % 90, n % 70, 20, 20, "a", 0.5) for n in range(4000)]
    begun = time.process_time()
    draw_detections(Image.new("RGB", (120, 100)), found)
    assert time.process_time() - begun < 10, "quadratic, it takes a minute"


def test_many_labels_are_written_smaller() -> None:
    rng = np.random.default_rng(0)
    many = [Detection(int(x), int(y), 50, 40, f"thing {x % 9}", 0.5) for x, y in rng.integers(0, 900, (200, 2))]
    _, few_labels = written(Image.new("RGB", (1000, 1000)), many[:5])
    _, many_labels = written(Image.new("RGB", (1000, 1000)), many)
    assert many_labels[0][1] < few_labels[0][1]
    plates = [plate for _, _, plate, _ in many_labels]
    covering = sum(share_a_pixel(a, b) for i, a in enumerate(plates) for b in plates[:i])
    assert covering < 20  # of 19,900 pairs


@pytest.mark.parametrize(
    "label",
    [
        "größer",
        "красная панда",
        "小熊猫",
        "レッサーパンダ",
        "레서판다",
        "الباندا الأحمر",
        "🐼🏽‍🦰",
        "e\u0301",
        "\u0301",
        "\ud83d",
        "\0",
        "x" * 10**5,
    ],
    ids=[
        "German",
        "Russian",
        "Chinese",
        "Japanese",
        "Korean",
        "Arabic",
        "emoji",
        "combined",
        "mark",
        "half",
        "NUL",
        "long",
    ],
)
def test_labels_of_any_script_are_drawn(label: str) -> None:
    drawn, ((_, _, plate, color),) = written(Image.new("RGB", (400, 300)), [Detection(50, 100, 50, 50, label, 0.5)])
    inner = drawn[plate[1] + 1 : plate[3] - 1, plate[0] + 1 : plate[2] - 1]
    assert (inner != np.array(color)).any()  # something is written on the plate


# Colours -------------------------------------------------------------------------------------------------------------


def colors_of(labels: list[str]) -> dict[str, Any]:
    _, drawn = written(Image.new("RGB", (400, 300)), [Detection(9, 9, 9, 9, label, 0.5) for label in labels])
    return {label: entry[3] for label, entry in zip(labels, drawn, strict=True)}


def test_labels_of_a_picture_differ_in_colour() -> None:
    colors = colors_of([f"thing {i}" for i in range(20)])
    assert len(set(colors.values())) == 20
    few = np.array(list(colors_of([f"thing {i}" for i in range(10)]).values()), dtype=float)
    distances = np.linalg.norm(few[:, None] - few[None], axis=-1)
    assert distances[~np.eye(10, dtype=bool)].min() > 60
    assert len(colors_of([f"thing {i}" for i in range(50)])) == 50


def test_a_label_keeps_its_colour() -> None:
    assert colors_of(["panda", "panda"]) == colors_of(["panda"])
    assert colors_of(["panda", "tree"]) == colors_of(["tree", "panda"])
    assert colors_of(["panda", "tree", "apple"])["panda"] == colors_of(["panda"])["panda"]


def test_ink_stands_out_from_every_plate() -> None:
    labels = [f"thing {i}" for i in range(20)]
    for label in labels:
        others = [Detection(0, 0, 1, 1, other, 0.5) for other in labels if other != label]
        drawn, entries = written(Image.new("RGB", (900, 900)), [*others, Detection(400, 500, 9, 9, label, 0.5)])
        _, _, plate, color = entries[-1]
        inner = drawn[plate[1] + 1 : plate[3] - 1, plate[0] + 1 : plate[2] - 1].reshape(-1, 3) / 255
        linear = np.where(inner <= 0.04045, inner / 12.92, ((inner + 0.055) / 1.055) ** 2.4)
        luminance = linear @ (0.2126, 0.7152, 0.0722)
        ground = luminance[(inner * 255 == np.array(color)).all(axis=1)].mean()
        contrast = max((luminance.max() + 0.05) / (ground + 0.05), (ground + 0.05) / (luminance.min() + 0.05))
        assert contrast > 3, label  # WCAG 2.2's least for large text


# Masks and crops -----------------------------------------------------------------------------------------------------


@given(pictures(most=40))
def test_the_mask_is_the_union_of_the_boxes(picture: tuple[tuple[int, int], list[Detection]]) -> None:
    (width, height), detections = picture
    expected = np.zeros((height, width), dtype=np.uint8)
    for x1, y1, x2, y2 in (detection.xyxy for detection in detections):
        expected[y1:y2, x1:x2] = 255
    mask = detections_mask((width, height), detections)
    assert mask.mode == "L"
    assert np.array_equal(np.asarray(mask), expected)


@given(pictures(most=40))
def test_crops_are_the_pixels_of_the_boxes(picture: tuple[tuple[int, int], list[Detection]]) -> None:
    (width, height), detections = picture
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    crops = crop_detections(Image.fromarray(noise), detections)
    assert len(crops) == len(detections)
    for crop, (x1, y1, x2, y2) in zip(crops, (detection.xyxy for detection in detections), strict=True):
        assert np.array_equal(np.asarray(crop), noise[y1:y2, x1:x2])


def test_a_photograph() -> None:
    photo = load_image(PANDA)
    found = [Detection(100, 50, 600, 600, "red panda", 0.87), Detection(300, 120, 200, 150, "left ear", 0.4)]
    drawn = np.asarray(draw_detections(photo, found)).astype(int)
    changed = (drawn != np.asarray(photo)).any(axis=2)
    assert 0.005 < changed.mean() < 0.05  # frames and labels, and the picture still to be seen
    assert crop_detections(photo, found)[1].size == (200, 150)
    assert np.asarray(detections_mask(photo.size, found)).sum() == 255 * 600 * 600
