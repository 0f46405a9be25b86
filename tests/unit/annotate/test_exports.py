"""COCO files and sidecars made of records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iaa_runtime.annotate.coco import write_coco_boxes, write_coco_captions
from iaa_runtime.annotate.sidecars import Sidecars, places, write_sidecars
from iaa_runtime.errors import InputError

RECORDS = [
    {
        "image": "b.jpg",
        "width": 40,
        "height": 30,
        "caption": "A cat.",
        "detections": [
            {"x": 1, "y": 2, "width": 10, "height": 5, "label": "cat", "score": 0.5},
            {"x": 0, "y": 0, "width": 40, "height": 30, "label": "“room”", "score": 0.25},
        ],
    },
    {"image": "broken.jpg", "error": "no picture"},
    {
        "image": "a.jpg",
        "width": 20,
        "height": 10,
        "caption": "猫",
        "detections": [{"x": 3, "y": 4, "width": 1, "height": 1, "label": "cat", "score": 1.0}],
    },
]


def listed(*records: dict[str, Any], folder: str = "/photos") -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The records with their items."""
    return [({"image": record["image"], "path": f"{folder}/{record['image']}"}, record) for record in records]


def test_boxes_as_coco_instances(tmp_path: Path) -> None:
    path = tmp_path / "new" / "coco.json"
    write_coco_boxes(path, lambda: listed(*RECORDS))
    coco = json.loads(path.read_text())
    assert coco["images"] == [
        {"id": 1, "file_name": "b.jpg", "width": 40, "height": 30},
        {"id": 2, "file_name": "a.jpg", "width": 20, "height": 10},
    ]
    assert [category["name"] for category in coco["categories"]] == ["cat", "“room”"]
    assert [category["id"] for category in coco["categories"]] == [1, 2]
    assert [
        (a["id"], a["image_id"], a["category_id"], a["bbox"], a["area"], a["iscrowd"], a["score"])
        for a in coco["annotations"]
    ] == [
        (1, 1, 1, [1, 2, 10, 5], 50, 0, 0.5),
        (2, 1, 2, [0, 0, 40, 30], 1200, 0, 0.25),
        (3, 2, 1, [3, 4, 1, 1], 1, 0, 1.0),
    ]


def test_a_phrase_without_a_box_is_a_category_too(tmp_path: Path) -> None:
    """A draft is corrected by hand, and what was nowhere found is what has to be drawn."""
    looked_for = [
        RECORDS[2] | {"phrases": ["dog", "cat"]},
        RECORDS[2] | {"phrases": ["cat", "mouse"], "detections": []},
    ]
    write_coco_boxes(tmp_path / "coco.json", lambda: listed(*looked_for))
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert [(c["id"], c["name"]) for c in coco["categories"]] == [(1, "dog"), (2, "cat"), (3, "mouse")]
    assert [a["category_id"] for a in coco["annotations"]] == [2]


def test_cocos_own_tools_take_what_is_written(tmp_path: Path) -> None:
    """pycocotools indexes it, rasterises each box, and scores the boxes as found perfectly among themselves."""
    coco = pytest.importorskip("pycocotools.coco", reason="NO PYCOCOTOOLS: COCO files are not read by COCO's tools.")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    again = RECORDS[0] | {"detections": RECORDS[2]["detections"]}
    write_coco_boxes(tmp_path / "coco.json", lambda: listed(*RECORDS, again))
    read = coco.COCO(str(tmp_path / "coco.json"))
    assert sorted(read.imgs) == [1, 2] and len(read.anns) == 4
    assert [read.anns[number]["image_id"] for number in sorted(read.anns)] == [1, 1, 2, 1]
    for annotation in read.anns.values():
        left, top, width, height = annotation["bbox"]
        mask = read.annToMask(annotation)
        assert mask.sum() == width * height == mask[top : top + height, left : left + width].sum()
    found = read.loadRes([{k: a[k] for k in ("image_id", "category_id", "bbox", "score")} for a in read.anns.values()])
    scored = cocoeval.COCOeval(read, found, "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == pytest.approx(1)


def test_captions_as_coco_captions(tmp_path: Path) -> None:
    write_coco_captions(tmp_path / "coco.json", lambda: listed(*RECORDS))
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert coco["annotations"] == [
        {"id": 1, "image_id": 1, "caption": "A cat."},
        {"id": 2, "image_id": 2, "caption": "猫"},
    ]
    assert len(coco["images"]) == 2 and coco["licenses"] == []


def test_a_name_that_is_no_text_is_an_image_like_any(tmp_path: Path) -> None:
    write_coco_boxes(tmp_path / "coco.json", lambda: listed(*(r | {"image": "\udcff.jpg"} for r in RECORDS[::2])))
    assert [image["file_name"] for image in json.loads((tmp_path / "coco.json").read_text())["images"]] == [
        "\udcff.jpg"
    ]


def test_an_image_is_a_file_whatever_it_is_called(tmp_path: Path) -> None:
    """A job of an earlier version may call two files the same; a list may call one file by two names."""
    (first, record), *_ = listed(*RECORDS)
    made = [(first, record), (first | {"image": "./b.jpg"}, record | {"image": "./b.jpg"})]
    write_coco_boxes(tmp_path / "coco.json", lambda: [*made, *listed(record, folder="/elsewhere")])
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert [(image["id"], image["file_name"]) for image in coco["images"]] == [(1, "b.jpg"), (2, "b.jpg")]
    assert [annotation["image_id"] for annotation in coco["annotations"]] == [1, 1, 1, 1, 2, 2]


def test_nothing_found_is_still_coco(tmp_path: Path) -> None:
    write_coco_boxes(tmp_path / "coco.json", lambda: listed(RECORDS[1]))
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert (coco["images"], coco["annotations"], coco["categories"]) == ([], [], [])


def pairs(folder: Path, *names: str) -> list[tuple[dict[str, object], dict[str, object]]]:
    return [({"path": str(folder / name)}, {"image": name, "caption": f"Of {name}, 猫"}) for name in names]


OVERWRITE = Sidecars(existing="overwrite")


def test_captions_lie_beside_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    made = [*pairs(tmp_path, "a.b.jpg", "sub/c.png"), ({"path": str(tmp_path / "d.png")}, {"image": "d", "error": "x"})]
    assert write_sidecars(lambda: made).count == 2
    assert (tmp_path / "a.b.txt").read_text(encoding="utf-8") == "Of a.b.jpg, 猫\n"
    assert (tmp_path / "sub" / "c.txt").exists()
    assert not (tmp_path / "d.txt").exists()
    assert write_sidecars(lambda: made).count == 2  # the same again is no conflict


def test_a_caption_is_one_line_that_steers_no_terminal(tmp_path: Path) -> None:
    """Trainers read the first line alone; words that the user adds stay as they are."""
    made = [({"path": str(tmp_path / "a.jpg")}, {"image": "a.jpg", "caption": "a\x1b[2J\u202eb \r\n\n c"})]
    assert write_sidecars(lambda: made).count == write_sidecars(lambda: made).count == 1
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "a\\u001b[2J\\u202eb c\n"
    write_sidecars(lambda: made, Sidecars("ohwx, ", ", photo", keep_lines=True, existing="overwrite"))
    assert (tmp_path / "a.txt").read_bytes() == b"ohwx, a\\u001b[2J\\u202eb \\u000d\n\n c, photo\n"


def test_a_text_that_is_somebody_s_own_is_kept(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("mine")
    made = pairs(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(InputError, match=r"b\.txt is there already and says something else.*--existing"):
        write_sidecars(lambda: made)
    assert not (tmp_path / "a.txt").exists()  # nothing is written by half
    written = write_sidecars(lambda: made, Sidecars(existing="skip"))
    assert (written.count, written.skipped, (tmp_path / "b.txt").read_text()) == (1, 1, "mine")
    for _ in range(2):  # once, however often
        assert write_sidecars(lambda: made, Sidecars(existing="append")).count == 2
        assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "mine Of b.jpg, 猫\n"
    assert write_sidecars(lambda: made, OVERWRITE).count == 2
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "Of b.jpg, 猫\n"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_caption_is_added_to_no_text_of_another_encoding(tmp_path: Path, encoding: str) -> None:
    mine = "ein Bär\r\n".encode(encoding)
    (tmp_path / "a.txt").write_bytes(mine)
    written = write_sidecars(lambda: pairs(tmp_path, "a.jpg", "b.jpg"), Sidecars(existing="append"))
    assert written.count == 1 and "a.txt is no text in UTF-8" in written.problems[0]
    assert (tmp_path / "a.txt").read_bytes() == mine


def test_a_caption_is_added_where_the_text_only_ends_in_its_letters(tmp_path: Path) -> None:
    made = [({"path": str(tmp_path / "a.jpg")}, {"image": "a.jpg", "caption": "cat"})]
    for before, after in (
        ("a bobcat", "a bobcat cat\n"),
        ("a cat\n", "a cat\n"),
        ("cat", "cat"),
        ("dog\ncat\n", "dog\ncat\n"),
    ):
        (tmp_path / "a.txt").write_text(before)
        write_sidecars(lambda: made, Sidecars(existing="append"))
        assert (tmp_path / "a.txt").read_text() == after


def test_a_twin_without_a_caption_is_a_twin(tmp_path: Path) -> None:
    """Repaired later, it gets one; the other's stays where it is."""
    broken = ({"path": str(tmp_path / "a.jpg")}, {"image": "a.jpg", "error": "broken"})
    assert write_sidecars(lambda: [broken, *pairs(tmp_path, "a.png")]).count == 1
    assert write_sidecars(lambda: pairs(tmp_path, "a.jpg", "a.png")).count == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg.txt", "a.png.txt"]


def test_a_text_too_long_to_be_added_to_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * (2 << 20))
    written = write_sidecars(lambda: pairs(tmp_path, "a.jpg"), Sidecars(existing="append"))
    assert "too long" in written.problems[0] and (tmp_path / "a.txt").stat().st_size == 2 << 20


def test_twins_have_texts_of_their_whole_names(tmp_path: Path) -> None:
    """And so neither's caption is lost."""
    made = pairs(tmp_path, "a.jpg", "b.jpg", "a.png")
    with places({"image": record["image"], **item} for item, record in made) as where:
        assert (where.twins, where.example) == (2, ("a.jpg", "a.png"))
    assert write_sidecars(lambda: made).count == 3
    texts = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert texts == {f"{name}.txt": f"Of {name.replace('b', 'b.jpg')}, 猫\n" for name in ("a.jpg", "a.png", "b")}
    with pytest.raises(InputError, match=r"a\.png\.txt would be the caption of a\.png\.webp and of a twin"):
        write_sidecars(lambda: [*made, *pairs(tmp_path, "a.png.webp")])


@pytest.mark.parametrize("existing", ["refuse", "skip", "overwrite", "append"])
def test_a_twin_whose_text_has_too_long_a_name_is_told_of(existing: Any, tmp_path: Path) -> None:
    made = pairs(tmp_path, f"{'x' * 250}.jpg", f"{'x' * 250}.png", "b.jpg")
    written = write_sidecars(lambda: made, Sidecars(existing=existing))
    assert written.count == 1 and ["cannot be written" in problem for problem in written.problems] == [True] * 2


def test_a_picture_that_ends_like_a_text_is_not_written_over(tmp_path: Path) -> None:
    for name in ("a.txt", "b.TXT"):
        (tmp_path / name).write_text("a picture")
        with pytest.raises(InputError, match=f"{name} ends as captions do"):
            write_sidecars(lambda name=name: pairs(tmp_path, name), OVERWRITE)  # type: ignore[misc]
        assert (tmp_path / name).read_text() == "a picture"


def test_twins_where_the_disk_sees_no_case(blind_to_case: Path) -> None:
    for name in ("Photo.png", "photo.jpg"):
        (blind_to_case / name).touch()
    assert write_sidecars(lambda: pairs(blind_to_case, "Photo.png", "photo.jpg")).count == 2
    assert (blind_to_case / "Photo.png.txt").read_text(encoding="utf-8") == "Of Photo.png, 猫\n"
    assert not (blind_to_case / "photo.txt").exists()


def test_twins_have_two_texts_where_the_disk_sees_case(tmp_path: Path) -> None:
    for name in ("Photo.png", "photo.jpg"):
        (tmp_path / name).touch()
    if (tmp_path / "photo.png").exists():
        pytest.skip("this disk sees no case")
    assert write_sidecars(lambda: pairs(tmp_path, "Photo.png", "photo.jpg")).count == 2
    assert (tmp_path / "photo.txt").read_text(encoding="utf-8") == "Of photo.jpg, 猫\n"
    assert (tmp_path / "Photo.txt").read_text(encoding="utf-8") == "Of Photo.png, 猫\n"


def test_one_picture_under_two_names_of_its_folder_has_one_text(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for names, twins in ((("folder/a.png", "link/a.png"), 0), (("folder/a.png", "link/a.jpg"), 2)):
        with places({"image": name, "path": str(tmp_path / name)} for name in names) as where:
            assert where.twins == twins
        (tmp_path / "folder" / "a.jpg").touch()


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
@pytest.mark.parametrize("existing", ["refuse", "skip", "overwrite", "append"])
def test_a_text_s_place_that_is_no_file_is_that_picture_s_problem(kind: str, existing: Any, tmp_path: Path) -> None:
    """It stays, and is told of; the other pictures have their texts."""
    place = tmp_path / "b.txt"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        (tmp_path / "mine").write_text("mine")
        place.symlink_to(tmp_path / "mine")
    before = place.lstat()
    written = write_sidecars(lambda: pairs(tmp_path, "a.jpg", "b.jpg"), Sidecars(existing=existing))
    (problem,) = written.problems
    assert "b.txt is a " in problem and "only files are replaced" in problem
    assert place.lstat().st_ino == before.st_ino
    assert written.count == 1 and (tmp_path / "a.txt").exists()


@pytest.mark.parametrize("write", [write_coco_boxes, write_coco_captions])
def test_coco_replaces_a_file_only_if_told(write: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write(path, lambda: listed(*RECORDS))
    assert path.read_text() == "mine"
    write(path, lambda: listed(*RECORDS), overwrite=True)
    write(path, lambda: listed(*RECORDS))  # the same again is no conflict
    assert json.loads(path.read_text())["images"]
    assert [file.name for file in tmp_path.iterdir()] == ["coco.json"]
