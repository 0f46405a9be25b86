"""What the registry's archive holds: the tracked files but for those in .comfyignore, as comfy-cli packs them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from PIL import Image

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

PROJECT = Path(__file__).parents[2]
LARGEST = 20_000_000
"""Bytes of all files together, before they are packed."""
NEEDED = {
    "__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md",
    "nodes/__init__.py", "web/js/iaa.js", "web/docs/IAA_Ground/en.md", "locales/zh/main.json", "iaa_runtime/py.typed",
    "iaa_runtime/demo_checkpoint/model.safetensors", "iaa_runtime/demo_checkpoint/LICENSE", "docs/images/ground.png",
}  # fmt: skip


def listed(*arguments: str) -> set[str]:
    """Names of tracked files."""
    command = ["git", "-C", str(PROJECT), "ls-files", "-z", *arguments]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip("NO GIT CHECKOUT: what the registry's archive would hold is not known.")
    return set(made.stdout.split("\0")) - {""}


def test_the_archive_holds_the_pack_and_no_tests() -> None:
    packed = listed() - listed("--cached", "--ignored", "--exclude-from=.comfyignore")
    assert packed >= NEEDED
    folders = {name.partition("/")[0] for name in packed if "/" in name}
    assert folders == {"nodes", "iaa_runtime", "web", "locales", "workflows", "subgraphs", "docs"}
    beside = {name for name in packed if "/" not in name}
    assert beside == {".gitattributes", *(name for name in NEEDED if "/" not in name)}, (
        "a log or a picture that somebody left there"
    )
    assert sum((PROJECT / name).stat().st_size for name in packed) < LARGEST
    assert not [name for name in packed if (PROJECT / name).read_bytes()[:40].startswith(b"version https://git-lfs")]


def test_pictures_for_the_registry_have_its_sizes() -> None:
    """Icon at most 400 by 400, banner 21 by 9."""
    with Image.open(PROJECT / "docs" / "images" / "icon.png") as icon:
        assert icon.size == (400, 400)
    with Image.open(PROJECT / "docs" / "images" / "banner.png") as banner:
        assert banner.width * 9 == banner.height * 21


def test_what_can_be_filled_in_is() -> None:
    """An address, a publisher and addresses of the pictures are the owner's: CONTRIBUTING says which."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["comfy"].keys() >= {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui"}
    assert project["project"].keys() >= {"name", "version", "description", "license", "classifiers", "requires-python"}
    words = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(word in words for word in ("PublisherId", "Icon", "Banner", "Repository"))
