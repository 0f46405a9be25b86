"""Data sets of others: WebDataset's tar files and Hugging Face's imagefolder, each read back by its own package."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms

from iaa_runtime import IAAPipeline
from iaa_runtime.annotate.annotator import load_picture
from iaa_runtime.annotate.sources import list_images
from iaa_runtime.cli import main
from iaa_runtime.errors import InputError

BOXES = ["--phrase", "cat", "--threshold", "0", "--max-new-tokens", "24"]
Run = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def run(
    pipeline: IAAPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Captions in shards of two, by a model that is open already; returns the JSON line and stderr."""
    monkeypatch.setattr("iaa_runtime.cli.annotate.open_pipeline", lambda options, *tasks: pipeline)

    def annotate(*words: str, out: str = "out", code: int = 0) -> tuple[dict[str, Any], str]:
        asked = ["--caption", "--shard-size", "2", "--max-new-tokens", "4", "--json"]
        assert main(["annotate", *asked, "--out", str(tmp_path / out), *words]) == code
        told, err = capsys.readouterr()
        return json.loads(told or "{}"), err

    return annotate


def records(tmp_path: Path, out: str = "out") -> list[dict[str, Any]]:
    lines = [line for shard in sorted((tmp_path / out).glob("shard-*.jsonl")) for line in shard.open()]
    return [json.loads(line) for line in lines]


# WebDataset ----------------------------------------------------------------------------------------------------------


def test_webdataset_itself_reads_what_is_written_and_we_read_it_again(run: Run, photos: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    (photos / "b.v2.broken.png").write_bytes(b"")
    shards = tmp_path / "shards"
    assert run(str(photos), "--webdataset", str(shards))[0]["webdataset"] == str(shards)
    assert sorted(path.name for path in shards.iterdir()) == ["000000.tar", "000001.tar"]
    made = [record for record in records(tmp_path) if "error" not in record]
    samples = list(webdataset.WebDataset([str(path) for path in sorted(shards.iterdir())], shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["000000000", "000000001", "000000003"]
    assert [sample["txt"].decode() for sample in samples] == [record["caption"] for record in made]
    assert [json.loads(sample["json"]) for sample in samples] == made
    for sample, ending, name in zip(samples, ("png", "jpg", "webp"), ("a.png", "b.jpg", "sub/c.webp"), strict=True):
        assert sample[ending] == (photos / name).read_bytes()

    # The same again changes nothing; new pictures get tar files of their own.
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    Image.new("RGB", (30, 20), "white").save(photos / "new.png")
    run(str(photos), "--webdataset", str(shards), "--update")
    after = {path.name: path.read_bytes() for path in shards.iterdir()}
    assert sorted(after) == [*sorted(before), "000002.tar"] and after.items() >= before.items()

    # And back in: the same pictures have the same annotations.
    run(*map(str, sorted(shards.iterdir())[:2]), out="again")
    again = records(tmp_path, "again")
    assert [record["image"].removeprefix(f"{shards}/") for record in again] == [
        "000000.tar/000000000.png",
        "000000.tar/000000001.jpg",
        "000001.tar/000000003.webp",
    ]
    assert [record["caption"] for record in again] == [record["caption"] for record in made]
    assert list(list_images([f"{shards}/*.tar"])) == list(list_images(list(map(str, sorted(shards.iterdir())))))


def tar(path: Path, **members: bytes) -> str:
    """A tar file of these members, as other programs write them."""
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            file.addfile(about, io.BytesIO(content))
    return str(path)


def test_any_tar_file_of_pictures_is_read(run: Run, photos: Path, tmp_path: Path) -> None:
    picture, deep = (photos / "a.png").read_bytes(), "d" * 90
    names = ["./x.png", "../up.PNG", f"{deep}/{deep}/long.png", "b.left.jpg", ".hidden.png", "y.json", "broken.png"]
    source = tar(tmp_path / "of others.tar", **dict.fromkeys(names, picture) | {"broken.png": b"no"})
    _, err = run(source)
    assert "Passed over: 1 hidden, 1 ending in .json" in err
    found = records(tmp_path)
    assert [record["image"] for record in found] == [f"{source}/{name}" for name in (*names[:4], names[6])]
    assert ["error" in record for record in found] == [False] * 4 + [True]
    assert found[4]["error"].startswith(f"{source}/broken.png is not an image")
    assert "0 of 5 images" in err and "New since" not in run(source)[1]
    assert "beside which no caption goes" in run(source, "--sidecars", code=1)[1]
    assert "can name no pictures but those" in run(source, "--imagefolder", str(tmp_path), code=1)[1]


def test_a_tar_file_that_changed_is_an_error_of_its_pictures(photos: Path, tmp_path: Path) -> None:
    picture = (photos / "a.png").read_bytes()
    source = tar(tmp_path / "a.tar", **{"1.png": picture, "2.png": picture})
    listed = list(list_images([source]))
    tar(tmp_path / "a.tar", **{"1.png": picture + b" " * 5000, "2.png": picture})
    first, second = map(load_picture, listed)
    assert isinstance(first, Image.Image)
    assert isinstance(second, InputError) and "a.tar cannot be read as a tar file" in str(second)


@pytest.mark.parametrize(
    "harm", [lambda content: b"", lambda content: b"\x1f\x8b" + content, lambda content: content[:700]]
)
def test_what_is_no_whole_tar_file_is_named(harm: Callable[[bytes], bytes], photos: Path, tmp_path: Path) -> None:
    source = Path(tar(tmp_path / "a.tar", **{"1.png": (photos / "a.png").read_bytes() * 20}))
    source.write_bytes(harm(source.read_bytes()))
    with pytest.raises(InputError, match=r"a\.tar"):
        list(list_images([str(source)]))


def test_a_member_that_claims_more_than_its_file_holds_is_not_unpacked(tmp_path: Path) -> None:
    """A sparse one, which is written in 512 bytes, and read as 8 gigabytes of zeros."""
    about = tarfile.TarInfo("huge.png")
    about.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(about.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # its size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(header + bytes(1024))
    (item,) = list_images([str(tmp_path / "a.tar")])
    error = load_picture(item)
    assert isinstance(error, InputError) and "huge.png is not where it was" in str(error)


def test_a_shard_is_not_replaced_by_one_that_lacks_what_it_holds(run: Run, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    shards = tmp_path / "shards"
    run(str(photos), "--webdataset", str(shards))
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    (photos / "a.png").rename(tmp_path / "a.png")
    Image.new("RGB", (9, 9)).save(photos / "d.png")
    told, err = run(str(photos), "--update", "--webdataset", str(shards), "--overwrite")
    assert told["webdataset_failed"] == 1 and "000000.tar stays as it is" in err
    after = {path.name: path.read_bytes() for path in shards.iterdir()}
    assert before.items() < after.items() and sorted(after) == ["000000.tar", "000001.tar", "000002.tar"]
    shutil.rmtree(photos)
    told, err = run(str(photos), "--webdataset", str(tmp_path / "other"), code=1)
    assert told["webdataset_failed"] == told["images"] == 4


@pytest.mark.parametrize("name", ["a", "a.txt", "a.json", "a.PNG", "a.v2"])
def test_a_picture_of_any_name_is_in_its_shard(run: Run, tmp_path: Path, name: str) -> None:
    pytest.importorskip("webdataset")
    Image.new("RGB", (30, 20), "red").save(tmp_path / name, "PNG")
    (tmp_path / "list.jsonl").write_text(json.dumps({"image": name}) + "\n")
    run(str(tmp_path / "list.jsonl"), "--webdataset", str(tmp_path / "shards"))
    with tarfile.open(tmp_path / "shards" / "000000.tar") as tar:
        assert sorted(tar.getnames()) == ["000000000.json", "000000000.png", "000000000.txt"]
        kept = tar.extractfile("000000000.png")
        assert kept is not None and kept.read() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("damage", ["damaged", "orientation 0"])
def test_a_picture_that_nothing_turns_is_itself_in_its_shard(run: Run, tmp_path: Path, damage: str) -> None:
    """As for the model: a tag that cannot be read turns nothing, nor one that stands for no turn."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 0
    name = "a.png" if damage == "damaged" else "a.jpg"
    Image.new("RGB", (48, 32)).save(tmp_path / name, exif=b"Exif\0\0garbage" if damage == "damaged" else exif)
    run(str(tmp_path / name), "--webdataset", str(tmp_path / "shards"))
    with tarfile.open(tmp_path / "shards" / "000000.tar") as tar:
        kept = tar.extractfile(f"000000000{name[1:]}")
        assert kept is not None and kept.read() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("ending", "kind", "written"),
    [
        ("jpg", "JPEG", {}),
        ("jpg", "MPO", {"save_all": True, "append_images": [Image.new("RGB", (48, 32))]}),
        ("png", "PNG", {}),
        ("webp", "WEBP", {}),
        ("tiff", "TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_a_turned_picture_is_upright_in_its_shard(
    run: Run, tmp_path: Path, ending: str, kind: str, written: dict[str, Any]
) -> None:
    """As its record has it; a copy that looks the same, in its format and with its colours' profile."""
    webdataset = pytest.importorskip("webdataset")
    picture, exif = Image.new("RGB", (48, 32), "red"), Image.Exif()
    picture.paste("blue", (0, 0, 16, 16))
    exif[ExifTags.Base.Orientation] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / f"a.{ending}", kind, exif=exif, icc_profile=profile, **written)
    run(str(tmp_path / f"a.{ending}"), "--webdataset", str(tmp_path / "shards"))
    ((record,), file) = records(tmp_path), str(tmp_path / "shards" / "000000.tar")
    (sample,) = webdataset.WebDataset(file, shardshuffle=False)
    with Image.open(io.BytesIO(sample[ending])) as copy:
        assert copy.format == kind.replace("MPO", "JPEG")
        assert copy.size == (record["width"], record["height"]) == (32, 48)
        assert copy.getexif().get(ExifTags.Base.Orientation, 1) == 1 and copy.info["icc_profile"] == profile
        corners = [copy.convert("RGB").getpixel(place) for place in ((24, 7), (7, 24), (24, 40))]
    for seen, expected in zip(corners, ((0, 0, 255), (255, 0, 0), (255, 0, 0)), strict=True):
        assert seen == pytest.approx(expected, abs=8)
    # As it does itself, which turns none.
    if ending in ("jpg", "png"):
        (decoded,) = webdataset.WebDataset(file, shardshuffle=False).decode("pil")
        assert decoded[ending].size == (32, 48)


def test_without_webdataset_its_name_is_said(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    assert "Install it with: pip install webdataset." in run(str(photos), "--webdataset", "x", code=1)[1]


# imagefolder ---------------------------------------------------------------------------------------------------------


def test_an_imagefolder_names_texts_and_objects(run: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"")
    (tmp_path / "list.jsonl").write_text(
        "".join(
            json.dumps({"image": f"photos/{name}", "id": identity}) + "\n"
            for name, identity in (("sub/c.webp", 1), ("a.png", 1), ("broken.png", 1), ("a.png", 2))
        )
    )
    summary, _ = run(str(tmp_path / "list.jsonl"), "--imagefolder", str(photos), *BOXES)
    assert summary["imagefolder"] == str(photos / "metadata.jsonl") and summary["images"] == 4
    rows = [json.loads(line) for line in (photos / "metadata.jsonl").open()]
    assert [row["file_name"] for row in rows] == ["sub/c.webp", "a.png"]
    c, a, _, again = records(tmp_path)
    assert [row["text"] for row in rows] == [c["caption"], a["caption"]]
    boxes = a["detections"] + again["detections"]  # both records say something of one file
    assert rows[1]["objects"] == {
        "bbox": [[box["x"], box["y"], box["width"], box["height"]] for box in boxes],
        "categories": [box["label"] for box in boxes],
        "scores": [box["score"] for box in boxes],
    }
    # It is a list of pictures, too, without a word about its column.
    listed = list(list_images([str(photos / "metadata.jsonl")]))
    assert [row["image"] for row in listed] == ["sub/c.webp", "a.png"]


def test_datasets_itself_loads_the_folder(run: Run, photos: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="NO DATASETS: imagefolders are not read by their package.")
    shutil.rmtree(photos / ".cache")
    run(str(photos), "--imagefolder", str(photos), *BOXES)
    loaded = datasets.load_dataset("imagefolder", data_dir=str(photos), split="train", cache_dir=str(tmp_path / "c"))
    made = records(tmp_path)
    assert loaded["text"][:] == [record["caption"] for record in made]
    assert [picture.size for picture in loaded["image"]] == [(30, 20)] * 3
    assert [len(objects["bbox"]) for objects in loaded["objects"]] == [len(record["detections"]) for record in made]


def test_pictures_elsewhere_are_refused_before_the_work(run: Run, photos: Path, tmp_path: Path) -> None:
    """In a dry run as in a real one, which begins no job."""
    pictures = {"1.png": (photos / "a.png").read_bytes()}
    for words, said in (
        ([str(photos), "--imagefolder", str(photos / "sub")], "a.png is not in"),
        ([tar(tmp_path / "a.tar", **pictures), "--sidecars"], "beside which no caption goes"),
    ):
        for dry in ([], ["--dry-run"]):
            _, err = run(*words, *dry, code=1)
            assert said in err
            assert not list((tmp_path / "out").glob("*"))
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"image": "photos/a.png"}\n')
    run(str(listed))
    before = sorted((tmp_path / "out").iterdir())
    Image.new("RGB", (30, 20), "white").save(tmp_path / "elsewhere.png")
    listed.write_text('{"image": "elsewhere.png"}\n')
    for dry in (["--dry-run"], []):
        _, err = run(str(listed), "--imagefolder", str(photos), "--update", *dry, code=1)
        assert "elsewhere.png is not in" in err
    assert sorted((tmp_path / "out").iterdir()) == before, "and takes nothing in"
