"""Boxes keep their identities: in drawn moving scenes, whose boxes are read off the pixels, and in boxes by hand."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from iaa_runtime.boxes.bounding_box import MOST_BOXES, corners, label_of
from iaa_runtime.boxes.geometry import iou
from iaa_runtime.boxes.track import MOST_IN_FRAME, named_tracks, track_boxes, unnamed_tracks
from iaa_runtime.config.boxes import MOST_FRAMES, Tracking
from iaa_runtime.errors import Cancelled, InputError

pytest.importorskip("scipy", reason="NO SCIPY: boxes go untracked. It comes with the extra 'test'.")

Boxes = list[list[dict[str, Any]]]
SIZE = (320, 240)
RADIUS = 24


def moving_scene(seed: int, count: int = 4, frames: int = 48) -> list[list[tuple[int, tuple[int, ...], float]]]:
    """Discs that move evenly and bounce off the border, drawn in colours of their own, later ones over earlier ones.

    Returns:
        Per frame, for every disc of which anything is seen: its number, the box of its pixels, and the share that is.
    """
    rng = random.Random(seed)
    places = [[rng.uniform(RADIUS, SIZE[0] - RADIUS), rng.uniform(RADIUS, SIZE[1] - RADIUS)] for _ in range(count)]
    steps = [[rng.choice((-1, 1)) * rng.uniform(2, 6) for _ in "xy"] for _ in range(count)]
    shown = []
    for _ in range(frames):
        picture = Image.new("L", SIZE)
        drawing = ImageDraw.Draw(picture)
        for number, place in enumerate(places):
            drawing.circle(place, RADIUS, fill=number + 1)
        pixels = np.asarray(picture)
        seen = []
        for number in range(count):
            rows, columns = np.nonzero(pixels == number + 1)
            if len(rows):
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                seen.append((number, tuple(map(int, box)), len(rows) / (np.pi * RADIUS**2)))
        shown.append(seen)
        for place, step in zip(places, steps, strict=True):
            for axis in (0, 1):
                if not RADIUS <= place[axis] + step[axis] <= SIZE[axis] - RADIUS:
                    step[axis] = -step[axis]
                place[axis] += step[axis]
    return shown


def box(x1: float, y1: float, x2: float, y2: float, **more: Any) -> dict[str, Any]:
    """A box of two corners."""
    return {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, **more}


def detections(scene: list[list[tuple[int, tuple[int, ...], float]]], rng: random.Random, missed: float) -> Boxes:
    """What a detector finds: discs seen by half or more, in any order, some missed; their truth beside."""
    found = [
        [box(*edges, label="disc", score=0.9, truth=number) for number, edges, share in seen if share > 0.5]
        for seen in scene
    ]
    found = [[each for each in own if rng.random() >= missed] for own in found]
    for own in found:
        rng.shuffle(own)
    return found


def switches(tracked: Boxes) -> int:
    """How often a thing goes on under another number than before (of boxes that were found, not filled in)."""
    last: dict[int, int] = {}
    count = 0
    for found in tracked:
        for each in found:
            if not each.get("filled"):
                count += last.get(each["truth"], each["track"]) != each["track"]
                last[each["truth"]] = each["track"]
    return count


def gaps(boxes: Boxes, key: str) -> int:
    """Frames between the first and the last of each thing in which it is missing."""
    frames: dict[int, list[int]] = {}
    for frame, found in enumerate(boxes):
        for each in found:
            frames.setdefault(each[key], []).append(frame)
    return sum(own[-1] - own[0] + 1 - len(own) for own in frames.values())


@pytest.mark.parametrize("missed", [0.0, 0.1])
def test_things_that_cross_keep_their_identities_and_gaps_are_filled(missed: float) -> None:
    """Over 20 scenes: what overlaps, bounces and is missed is confused in fewer than one of a hundred boxes."""
    total = confused = missing = 0
    for seed in range(20):
        boxes = detections(moving_scene(seed), random.Random(seed), missed)
        tracked = track_boxes(boxes)
        assert gaps(tracked, "track") == 0
        total += sum(map(len, boxes))
        confused += switches(tracked)
        missing += gaps(boxes, "truth")
    assert missing > 50, "otherwise there is nothing to fill"
    assert confused < total / 100, (confused, total)


def test_without_gaps_the_same_scenes_fall_apart() -> None:
    """The test above can fail."""
    boxes = [detections(moving_scene(seed), random.Random(seed), 0.1) for seed in range(20)]
    apart = sum(switches(track_boxes(own, Tracking(gap=0))) for own in boxes)
    assert apart > 5 * sum(switches(track_boxes(own)) for own in boxes)


def test_what_fills_a_gap_lies_where_the_thing_was() -> None:
    """Of every filled box, against the circle's own place."""
    for seed in range(5):
        scene = moving_scene(seed, count=1)
        tracked = track_boxes(detections(scene, random.Random(seed), 0.2))
        for seen, found in zip(scene, tracked, strict=True):
            for each in found:
                if each.get("filled"):
                    ((_, truth, _),) = seen
                    edges = (each["x"], each["y"], each["x"] + each["width"], each["y"] + each["height"])
                    assert max(abs(a - b) for a, b in zip(edges, truth, strict=True)) < 13, "a bounce within the gap"


def test_nothing_is_dropped_and_frames_are_in_the_order_of_tracks() -> None:
    boxes = detections(moving_scene(3), random.Random(3), 0.2)
    tracked = track_boxes(boxes)
    for before, after in zip(boxes, tracked, strict=True):
        kept = [{k: v for k, v in each.items() if k != "track"} for each in after if not each.get("filled")]
        assert sorted(kept, key=repr) == sorted(before, key=repr)
        assert [each["track"] for each in after] == sorted({each["track"] for each in after})


def walk(*frames: int, step: float = 10) -> Boxes:
    """A box that moves to the right, in these frames of all up to the last."""
    return [
        [box(i * step, 0, i * step + 40, 40, label="dog", score=0.5)] * (i in frames) for i in range(frames[-1] + 1)
    ]


def test_a_gap_is_filled_on_the_straight_way() -> None:
    boxes = walk(0, 1, 2, 5)
    boxes[5][0]["score"] = 0.4
    tracked = track_boxes(boxes, Tracking(gap=2))
    assert [[each["track"] for each in found] for found in tracked] == [[1]] * 6
    assert tracked[3] == [box(30, 0, 70, 40, label="dog", score=0.4, filled=True, track=1)]
    assert tracked[4] == [box(40, 0, 80, 40, label="dog", score=0.4, filled=True, track=1)]


@pytest.mark.parametrize("unknown", [{}, {"score": None}])
def test_no_score_is_made_up_in_a_gap(unknown: dict[str, Any]) -> None:
    boxes: Boxes = [[box(0, 0, 40, 40, **unknown)], [], [box(0, 0, 40, 40, **unknown)]]
    assert track_boxes(boxes, Tracking(gap=1))[1] == [box(0, 0, 40, 40, **unknown, filled=True, track=1)]


def test_a_longer_gap_is_another_thing() -> None:
    assert [[each["track"] for each in found] for found in track_boxes(walk(0, 1, 2, 5), Tracking(gap=1))] == [
        [1],
        [1],
        [1],
        [],
        [],
        [2],
    ]


def test_a_fast_thing_is_found_where_it_moves_to() -> None:
    """After three frames it has moved on by three quarters of its width: its last box alone overlaps too little."""
    boxes = walk(0, 1, 2, 5)
    assert iou(corners(boxes[2][0]), corners(boxes[5][0])) < 0.2
    assert track_boxes(walk(0, 1, 2, 5), Tracking(iou=0.5, gap=2))[5][0]["track"] == 1


@pytest.mark.parametrize(
    ("lefts", "later"),
    [
        pytest.param([0, 10, 20, 30, 48], 80, id="the last step is longer"),
        pytest.param([*range(0, 200, 10), *range(200, 150, -10)], 120, id="it has turned"),
    ],
)
def test_the_last_five_boxes_tell_how_a_thing_moves(lefts: list[int], later: int) -> None:
    """It is missed in three frames, and looked for where it would be in the fourth."""
    boxes = [[box(left, 0, left + 40, 40)] for left in lefts]
    tracked = track_boxes([*boxes, [], [], [], [box(later, 0, later + 40, 40)]], Tracking(gap=3))
    assert tracked[-1][0]["track"] == 1


@pytest.mark.parametrize(("same_label", "track"), [(True, 2), (False, 1)])
def test_labels_keep_things_apart(same_label: bool, track: int) -> None:
    boxes = [[box(0, 0, 9, 9, label="Dog")], [box(0, 0, 9, 9, label="dog")], [box(0, 0, 9, 9, label="cat")]]
    tracked = track_boxes(boxes, Tracking(same_label=same_label))
    assert [found[0]["track"] for found in tracked] == [1, 1, track]


def test_the_sum_of_overlaps_decides_not_the_first_come() -> None:
    """Greedily, the left box would take the right one's track, and the right one would be new."""
    first = [[box(0, 0, 100, 10), box(60, 0, 160, 10)]]
    second = [[box(40, 0, 140, 10), box(100, 0, 200, 10)]]
    assert [(each["x"], each["track"]) for each in track_boxes(first + second)[1]] == [(40, 1), (100, 2)]


def test_smoothing_calms_what_trembles_and_leaves_what_moves_evenly() -> None:
    rng = np.random.default_rng(1)
    even = [[box(3 * i, 2 * i, 3 * i + 50, 2 * i + 40)] for i in range(30)]
    trembling = [[box(*(np.array([3 * i, 2 * i, 3 * i + 50, 2 * i + 40]) + rng.normal(0, 2, 4)))] for i in range(30)]
    still = track_boxes(even, Tracking(smoothing=3))
    calm = track_boxes(trembling, Tracking(smoothing=3))

    def away(boxes: Boxes) -> float:
        return float(np.mean([abs(b[0]["x"] - a[0]["x"]) for a, b in zip(even, boxes, strict=True)]))

    assert away(still) < 1e-9
    assert away(calm) < 0.6 * away(trembling)
    assert len(still) == 30 and all(len(found) == 1 for found in calm)


def test_labels_are_numbered() -> None:
    tracked = named_tracks(track_boxes([[box(0, 0, 9, 9, label="dog"), box(20, 0, 29, 9)], []]))
    assert [each["label"] for each in tracked[0]] == ["dog #1", "#2"] and tracked[1] == []


def test_who_follows_boxes_anew_numbers_them_anew() -> None:
    """And a number, which differs, is no other label."""
    frames = [[box(0, 0, 9, 9, label="dog #1 of 2"), box(20, 0, 29, 9)], [], [box(0, 0, 9, 9, label="dog #1 of 2")]]
    once = named_tracks(track_boxes(frames, Tracking(gap=0)))
    assert [each["label"] for found in once for each in found] == ["dog #1 of 2 #1", "#2", "dog #1 of 2 #3"]
    assert [[label_of(each) for each in found] for found in unnamed_tracks(once)] == [
        [label_of(each) for each in found] for found in frames
    ]
    twice = named_tracks(track_boxes(unnamed_tracks(once), Tracking(gap=1)))
    assert [found[0]["label"] for found in twice] == ["dog #1 of 2 #1"] * 3
    untracked = [[box(0, 0, 9, 9, label="bus #2"), {**box(0, 0, 9, 9, label="bus #2"), "track": 1}]]
    assert unnamed_tracks(untracked) == untracked


def test_no_frames_and_no_boxes() -> None:
    assert track_boxes([]) == [] and track_boxes([[], []]) == [[], []]


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"iou": 0.0}, "least overlap"), ({"iou": 1.1}, "least overlap"), ({"gap": -1}, "'gap' is -1 frames")],
)
def test_settings_without_a_sense_are_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Tracking(**changed)


def test_too_much_is_refused_before_it_is_made() -> None:
    with pytest.raises(InputError, match=f"{MOST_IN_FRAME} are the most"):
        track_boxes([[box(0, 0, 9, 9)] * (MOST_IN_FRAME + 1)])
    far = MOST_FRAMES
    rows = [box(0, 20 * i, 9, 20 * i + 9) for i in range(MOST_BOXES // far + 1)]
    with pytest.raises(InputError, match="are the most that images may have together"):
        track_boxes([rows, *([[]] * far), rows], Tracking(gap=far))


def test_cancel_is_heard_at_every_frame() -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        track_boxes(walk(*range(9)), cancelled=cancelled)
    assert len(asked) == 4


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(InputError, match="pip install scipy"):
        track_boxes(walk(0, 1))
