"""Patterns of pictures."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from iaa_runtime.images.names import expanded, matching, slug

FILES = ("a.png", "d/b.png", "d/e/c.png", "d/e/.hidden.png", ".dark/x.png", "d/[odd] name/*.png", "other/deep/er/z.png")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(
    "pattern",
    ["*.png", "**/*.png", "d/**/*.png", "**", "d/**", "*/**/c.png", "**/e/**/*.png", "d/**/../*.png", "nothing/**/*"],
)
def test_patterns_match_what_pythons_do(tree: Path, pattern: str, absolute: bool) -> None:
    pattern = str(tree / pattern) if absolute else pattern
    expected = {os.path.normpath(path) for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
    found = [path for path in matching(pattern) if os.path.isfile(path)]
    assert {os.path.normpath(path) for path in found} == expected
    assert all(os.path.isabs(path) == absolute for path in found)


def test_links_that_lead_back_are_gone_through_once(tree: Path) -> None:
    for name in ("one", "two"):
        (tree / "d" / name).symlink_to(".", target_is_directory=True)
    (tree / "d" / "up").symlink_to("..", target_is_directory=True)
    (tree / "linked").symlink_to("other", target_is_directory=True)
    assert expanded("d/**/c.png") == ["d/e/c.png"]
    assert len([name for name in expanded("**/*.png") if name.endswith("z.png")]) == 1
    assert expanded("linked/**/*.png") == ["linked/deep/er/z.png"]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("The Red/Blue car!", "the-red-blue-car"),
        ("a_b 12", "a_b-12"),
        ("लाल कार", "लाल-कार"),
        ("ผู้ชาย", "ผู้ชาย"),
        ("a\u0301rbol", "\u00e1rbol"),  # as macOS spells it
        ("☃ ", "box"),
        ("x" * 39 + " y", "x" * 39),
    ],
)
def test_a_label_in_a_file_name_keeps_words_of_any_script(label: str, name: str) -> None:
    assert slug(label) == name
