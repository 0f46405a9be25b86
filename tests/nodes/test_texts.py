"""Every node and input has its words: in both languages, and on a help page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import Client


def names(node: dict[str, Any]) -> list[str]:
    """A node's inputs as locales name them: those of a group with the group's name in front."""
    return [name for i in node["inputs"] for name in [i["id"], *(f"{i['id']}_{n}" for n, _ in i["nested"])]]


def locale(project: Path, language: str) -> dict[str, Any]:
    """All words of a language."""
    return dict(json.loads((project / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_locales_cover_every_node_input_and_output(project: Path, pack: dict[str, Any], language: str) -> None:
    words = locale(project, language)
    assert set(words) == set(pack["nodes"])
    for name, node in pack["nodes"].items():
        assert words[name]["display_name"] and words[name]["description"]
        assert list(words[name]["inputs"]) == names(node), name
        assert list(words[name]["outputs"]) == [str(number) for number in range(len(node["outputs"]))], name
        for part in [*words[name]["inputs"].values(), *words[name]["outputs"].values()]:
            assert set(part) == {"name", "tooltip"} and all(part.values()), f"{name}: {part}"


def test_english_is_what_comfyui_shows(project: Path, pack: dict[str, Any]) -> None:
    words = locale(project, "en")
    for name, node in pack["nodes"].items():
        shown = [tip for i in node["inputs"] for tip in [i["tooltip"], *(tooltip for _, tooltip in i["nested"])]]
        assert [part["tooltip"] for part in words[name]["inputs"].values()] == shown, name
        outputs = [[part["name"], part["tooltip"]] for part in words[name]["outputs"].values()]
        assert outputs == node["outputs"], name
        assert (words[name]["display_name"], words[name]["description"]) == (node["display_name"], node["description"])


def test_chinese_is_chinese(project: Path) -> None:
    english = locale(project, "en")
    for name, node in locale(project, "zh").items():
        for text in [node["description"], *(part["tooltip"] for part in node["inputs"].values())]:
            assert re.search("[\u4e00-\u9fff]", text), f"{name}: {text}"
        assert node["description"] != english[name]["description"]


def test_every_node_has_a_help_page_that_names_all_it_has(project: Path, pack: dict[str, Any]) -> None:
    for name, node in pack["nodes"].items():
        for page in (project / "web" / "docs" / f"{name}.md", project / "web" / "docs" / name / "zh.md"):
            text = page.read_text(encoding="utf-8")
            parts = [*(i["id"] for i in node["inputs"]), *(label for label, _ in node["outputs"])]
            # A run of inputs may be written as `first` … `last`.
            missing = [p for p in parts if f"`{p}`" not in text and not re.fullmatch(r"bboxes_\d", p)]
            assert not missing, f"{page.name} of {name} says nothing of {', '.join(missing)}"


def test_comfyui_serves_them(client: Client) -> None:
    served = client.get_json("/i18n")
    assert served["zh"]["nodeDefs"]["IAA_Ground"]["display_name"] == "IAA 定位"
    assert client.get("/extensions/iaa-nodes/docs/IAA_Ground.md").startswith(b"# IAA Ground")
    assert client.get("/extensions/iaa-nodes/docs/IAA_Ground/zh.md").decode().startswith("# IAA 定位")
