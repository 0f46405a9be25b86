"""A job that was begun on another system goes on here, with the pictures under the same names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PureWindowsPath

import pytest

from iaa_runtime.cli import main

WORDS = ["annotate", "photos", "--caption", "--max-new-tokens", "4", "--shard-size", "1", "--out", "job"]


def test_a_job_of_windows_goes_on_elsewhere(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "--model", str(tiny)]
    assert main(words) == 0
    before = [shard.read_bytes() for shard in sorted(Path("job").glob("shard-*"))]
    items = [json.loads(line) for line in Path("job/items.jsonl").read_text(encoding="utf-8").splitlines()]
    moved = [item | {"path": str(PureWindowsPath("C:/Users/me", item["image"]))} for item in items]
    Path("job/items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in moved), encoding="utf-8")
    manifest = json.loads(Path("job/manifest.json").read_text(encoding="utf-8"))
    manifest["list"] = hashlib.sha256(Path("job/items.jsonl").read_bytes()).hexdigest()
    Path("job/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    Path("job/shard-000001.jsonl").unlink()
    assert main([*words, "--coco", "coco.json", "--sidecars"]) == 0
    assert [shard.read_bytes() for shard in sorted(Path("job").glob("shard-*"))] == before
    files = [image["file_name"] for image in json.loads(Path("coco.json").read_text(encoding="utf-8"))["images"]]
    assert files == [item["image"] for item in items] == ["photos/a.png", "photos/b.jpg", "photos/sub/c.webp"]
    assert all(Path(name).with_suffix(".txt").is_file() for name in files)
    assert [path.name for path in tmp_path.iterdir() if "\\" in path.name] == []


def test_the_manifest_and_the_list_have_forward_slashes_on_windows(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos/a.png").rename("photos\\a.png")
    monkeypatch.setattr("os.sep", "\\")
    # Under its name with a slash, this system finds no picture.
    assert main([WORDS[0], "photos\\a.png", *WORDS[2:], "--model", str(tiny)]) == 1
    assert json.loads(Path("job/manifest.json").read_text(encoding="utf-8"))["settings"]["source"] == ["photos/a.png"]
    item, record = (json.loads(Path("job", name).read_text()) for name in ("items.jsonl", "shard-000000.jsonl"))
    assert item["image"] == record["image"] == "photos/a.png"
